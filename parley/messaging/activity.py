"""Somebody is typing, as Communicator says it: INFO with KeyboardActivity (MS-SIP; no RFC)."""

from __future__ import annotations

from typing import Final

from parley.messaging.errors import MessagingError
from parley.xml import XmlError, child, local_name, parse_xml

CONTENT_TYPE: Final = "application/xml"
MAX_BYTES: Final = 4_096


def parse_activity(data: bytes) -> bool:
    """Whether somebody types; False when it has stopped. Raises MessagingError 400."""
    try:
        root = parse_xml(data, max_bytes=MAX_BYTES)
    except XmlError:
        raise MessagingError(400, "Bad Keyboard Activity") from None
    status = child(root, "status")
    if local_name(root) != "KeyboardActivity" or status is None:
        raise MessagingError(400, "Bad Keyboard Activity")
    value = (status.get("status") or "").strip().lower()
    if value not in ("type", "idle"):
        raise MessagingError(400, "Bad Keyboard Activity")
    return value == "type"


def build_activity(*, typing: bool) -> bytes:
    """The document."""
    status = b"type" if typing else b"idle"
    return b'<?xml version="1.0"?>\r\n<KeyboardActivity><status status="%s"/></KeyboardActivity>' % status
