"""How an event travels: protobuf bytes and a few headers."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from parley.platform.events.api import HANDLED, Event

logger = logging.getLogger(__name__)

TYPE: Final = "type"
TRACEPARENT: Final = "traceparent"
PUBLISHED_AT: Final = "at"


def headers_of(message: ProtoMessage, traceparent: str, now_ms: int) -> dict[str, str]:
    """What goes beside the bytes."""
    headers = {TYPE: message.DESCRIPTOR.full_name, PUBLISHED_AT: str(now_ms)}
    if traceparent:
        headers[TRACEPARENT] = traceparent
    return headers


def decode(
    topic: str, key: str, payload: bytes, headers: Mapping[str, str], message_type: type[ProtoMessage]
) -> Event | None:
    """The event; None for bytes that are no such message, which are logged and counted."""
    wanted = message_type.DESCRIPTOR.full_name
    message: Any = message_type()
    try:
        if headers.get(TYPE, wanted) != wanted:
            raise DecodeError
        message.ParseFromString(payload)
    except DecodeError:
        HANDLED.labels(topic, "undecodable").inc()
        logger.error("an event of %s with key %s is no %s but a %r", topic, key, wanted, headers.get(TYPE, ""))
        return None
    at = headers.get(PUBLISHED_AT, "0")
    return Event(topic, key, message, headers.get(TRACEPARENT, ""), int(at) if at.isdigit() else 0)


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, the same in every process."""
    return zlib.crc32(key.encode()) % partitions
