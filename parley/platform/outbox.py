"""Events that are written with the state they tell of, and published after it (transactional outbox).

A script pushes a record to a list in the same step that changes the state, so no crash loses the event. Any process of the
service relays what is there: at least once, and in order for each key. A lock with a time limit lets one relay a list at a
time, and only who still holds it may take records off. While the bus is away records wait, up to a bound; beyond it the
oldest are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from google.protobuf.message import Message as ProtoMessage
from prometheus_client import Counter, Gauge

from parley.platform.events.api import EventBus, EventBusError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError

logger = logging.getLogger(__name__)

_LOCK_MS: Final = 4_000
"""As long as a lease of the event bus: so long the events of a process that died may wait."""
_CHUNK: Final = 100
_POLL_S: Final = 1.0
_AT_A_TIME: Final = 8

_RELAYED = Counter("parley_outbox_relayed_total", "Events relayed from an outbox", ["service"])
_WAITING = Gauge("parley_outbox_waiting", "Events that wait in the outboxes of a service, as of the last look", ["service"])
_DROPPED = Counter("parley_outbox_dropped_total", "Events given up: too many waited, or unreadable", ["service", "reason"])


@dataclass(frozen=True, slots=True)
class Record:
    """One event to publish."""

    topic: str
    key: str
    message: ProtoMessage
    traceparent: str = ""


def pack_event(topic: str, key: str, message: ProtoMessage, traceparent: str) -> bytes:
    """An entry of an outbox."""
    return f"{topic}\n{key}\n{traceparent}\n".encode() + message.SerializeToString()


def event_decoder(types: Mapping[str, type[ProtoMessage]]) -> Callable[[bytes], Record]:
    """Reads what `pack_event` wrote. ``types``: the messages by topic."""

    def decode(raw: bytes) -> Record:
        topic, key, traceparent, data = raw.split(b"\n", 3)
        message = types[topic.decode()].FromString(data)
        return Record(topic.decode(), key.decode(), message, traceparent.decode())

    return decode


class OutboxRelay:
    """Relays the outboxes of one service."""

    def __init__(
        self,
        service: str,
        store: Store,
        bus: EventBus,
        lists: Sequence[str],
        decode: Callable[[bytes], Record],
        *,
        most: int = 100_000,
        lock_ms: int = _LOCK_MS,
    ) -> None:
        """``lists``: keys of the outboxes, each with a hash tag; ``decode`` reads what the scripts push.

        ``most``: records that may wait in one list; ``lock_ms``: after that long another relay takes over a list whose
        relay is silent, as one is not that publishes, however long that takes.
        """
        self._store = store
        self._bus = bus
        self._lists = list(lists)
        self._decode = decode
        self._most = most
        self._lock_ms = lock_ms
        self._name = token_hex(8)
        self._step_script = store.script("parley.platform", "outbox.lua")
        self._wake = asyncio.Event()
        self._hot: set[str] = set()
        self._away = False
        self._service = service
        self._waiting = _WAITING.labels(service)
        self._relayed = _RELAYED.labels(service)
        self._overflown = _DROPPED.labels(service, "overflow")
        self._unreadable = _DROPPED.labels(service, "unreadable")

    def wake(self, key: str) -> None:
        """Something was pushed to a list just now."""
        self._hot.add(key)
        self._wake.set()

    async def run(self) -> None:
        """Relays until cancelled: at once what this process pushed, each second what others left."""
        loop = asyncio.get_running_loop()
        poll_at = loop.time()
        while True:
            try:
                if loop.time() >= poll_at:
                    poll_at = loop.time() + _POLL_S
                    await self.look()
                await self.relay()
                self._away = False
            except (StoreError, EventBusError) as error:
                logger.log(logging.DEBUG if self._away else logging.WARNING, "events wait in the outbox: %s", error)
                self._away = True
                await asyncio.sleep(_POLL_S)
                continue
            try:
                async with asyncio.timeout_at(poll_at):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def look(self) -> None:
        """Finds lists with something in them, whoever pushed it, and keeps them within their bound. Raises StoreError."""
        lengths = await self._store.pipeline([["LLEN", key] for key in self._lists])
        total = 0
        for key, length in zip(self._lists, lengths, strict=True):
            if isinstance(length, BaseException):
                raise length
            total += length
            if length:
                self._hot.add(key)
            if length > self._most:
                await self._step(key, 0, 0)
        self._waiting.set(total)

    async def relay(self) -> None:
        """Publishes what waits in the lists known to have something. Raises StoreError, EventBusError."""
        waiting = list(self._hot)
        problems: list[StoreError | EventBusError] = []

        async def work() -> None:
            while waiting and not problems:
                key = waiting.pop()
                self._hot.discard(key)
                try:
                    await self._relay_list(key)
                except (StoreError, EventBusError) as error:
                    self._hot.add(key)
                    problems.append(error)

        await asyncio.gather(*(work() for _ in range(min(_AT_A_TIME, len(waiting)))))
        if problems:
            raise problems[0]

    async def _relay_list(self, key: str) -> None:
        chunk = await self._step(key, 0, _CHUNK)
        while chunk:
            if not await self._publish_holding(key, chunk):
                return
            self._relayed.inc(len(chunk))
            chunk = await self._step(key, len(chunk), _CHUNK)

    async def _publish_holding(self, key: str, chunk: list[bytes]) -> bool:
        """Publishes while the lock is renewed; False when another relay has the list, and publishes the rest."""
        publishing = asyncio.ensure_future(self._publish(chunk))
        try:
            while not (await asyncio.wait([publishing], timeout=self._lock_ms / 4000))[0]:
                if await self._step(key, 0, 0) is None:
                    return False
            publishing.result()
            return True
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def _step(self, key: str, published: int, wanted: int) -> list[bytes] | None:
        """Takes off what was published and reads on; nothing when the list is empty, None when another relay has it."""
        reply = await self._step_script([f"{key}:lock", key], [self._name, self._lock_ms, published, wanted, self._most])
        if reply[0] == 1 and reply[1]:
            self._overflown.inc(reply[1])
            logger.error("the outbox %s is full: %d events of %s are dropped", key, reply[1], self._service)
        return list(reply[2:]) if reply[0] == 1 else None

    async def _publish(self, chunk: list[bytes]) -> None:
        """Those of one key one after the other, different keys side by side."""
        by_key: dict[tuple[str, str], list[Record]] = {}
        for raw in chunk:
            try:
                record = self._decode(raw)
            except Exception:
                # It would be there for ever, and nothing behind it would be published.
                logger.exception("an event of %s cannot be read and is dropped", self._service)
                self._unreadable.inc()
                continue
            by_key.setdefault((record.topic, record.key), []).append(record)

        async def in_order(records: list[Record]) -> None:
            for record in records:
                await self._bus.publish(record.topic, record.key, record.message, traceparent=record.traceparent)

        results = await asyncio.gather(*(in_order(records) for records in by_key.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
