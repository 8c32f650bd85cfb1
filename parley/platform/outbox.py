"""Events that are written with the state they tell of, and published after it (transactional outbox).

A script pushes a record to a list in the same step that changes the state, so no crash loses the event. Any process of the
service relays what is there, in order and at least once; a lock with a time limit lets one relay a list at a time, and only
who still holds it may take records off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from google.protobuf.message import Message as ProtoMessage
from prometheus_client import Counter

from parley.platform.events.api import EventBus, EventBusError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError

logger = logging.getLogger(__name__)

_LOCK_MS: Final = 10_000
_CHUNK: Final = 100
_POLL_S: Final = 1.0

_RELAYED = Counter("parley_outbox_relayed_total", "Events relayed from an outbox", ["service"])

_LOCK = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_TAKE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('LTRIM', KEYS[2], ARGV[2], -1)
return 1
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One event to publish."""

    topic: str
    key: str
    message: ProtoMessage
    traceparent: str = ""


class OutboxRelay:
    """Relays the outboxes of one service."""

    def __init__(
        self,
        service: str,
        store: Store,
        bus: EventBus,
        lists: Sequence[str],
        decode: Callable[[bytes], Record],
    ) -> None:
        """``lists``: keys of the outboxes, each with a hash tag; ``decode`` reads what the scripts push."""
        self._store = store
        self._bus = bus
        self._lists = list(lists)
        self._decode = decode
        self._name = token_hex(8)
        self._wake = asyncio.Event()
        self._hot: set[str] = set()
        self._relayed = _RELAYED.labels(service)

    def wake(self, key: str) -> None:
        """Something was pushed to a list just now."""
        self._hot.add(key)
        self._wake.set()

    async def run(self) -> None:
        """Relays until cancelled."""
        while True:
            try:
                await self._relay_waiting()
            except (StoreError, EventBusError) as error:
                logger.info("events wait in the outbox: %s", error)
                await asyncio.sleep(_POLL_S)
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                self._hot.update(await self._filled())
            self._wake.clear()

    async def _filled(self) -> set[str]:
        """Lists with something in them, whoever pushed it."""
        lengths = await self._store.pipeline([["LLEN", key] for key in self._lists])
        return {key for key, length in zip(self._lists, lengths, strict=True) if isinstance(length, int) and length}

    async def _relay_waiting(self) -> None:
        hot, self._hot = self._hot, set()
        for key in hot:
            try:
                await self._relay(key)
            except (StoreError, EventBusError):
                self._hot.add(key)
                raise

    async def _relay(self, key: str) -> None:
        lock = f"{key}:lock"
        while True:
            if not await self._store.execute("EVAL", _LOCK, 1, lock, self._name, _LOCK_MS, key=lock):
                return  # another process relays this list
            chunk = await self._store.execute("LRANGE", key, 0, _CHUNK - 1)
            if not chunk:
                return
            for raw in chunk:
                record = self._decode(raw)
                await self._bus.publish(record.topic, record.key, record.message, traceparent=record.traceparent)
            taken = await self._store.execute("EVAL", _TAKE, 2, lock, key, self._name, len(chunk), key=lock)
            if not taken:
                return
            self._relayed.inc(len(chunk))
