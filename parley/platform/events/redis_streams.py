"""The event bus on Redis Streams, for one machine and for small clusters.

A topic is a fixed number of streams, one for each partition; a key always goes to the same one. A member of a group holds
a lease on each partition it reads, so that the events of a key are handled one after the other; the leases are shared out
evenly among the members. An event that was delivered but not acknowledged is delivered again to whoever holds the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from secrets import token_hex
from typing import Any, Final

from google.protobuf.message import Message as ProtoMessage

from parley.platform.clock import Clock
from parley.platform.events.api import DEAD_SUFFIX, PUBLISHED, Event, EventBusError, Handler
from parley.platform.events.codec import decode, headers_of, partition_of
from parley.platform.events.handling import handle
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.tracing import NO_TRACER, Tracer

logger = logging.getLogger(__name__)

_LEASE_MS: Final = 4_000
_RENEW_S: Final = 1.0
_IDLE_S: Final = 0.02
_IDLE_MAX_S: Final = 0.2
_COUNT: Final = 64

_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 2 end
return 0
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisStreamsBus:
    """See `parley.platform.events.api.EventBus`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        partitions: int = 8,
        retention: int = 100_000,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """``retention``: events kept for each partition; older ones are dropped, read or not."""
        self.store = store
        self.partitions = partitions
        self.tracer = tracer
        self._clock = clock
        self._retention = retention
        self._subscriptions: list[_Tail | _Member] = []

    async def start(self) -> None:
        """Nothing to do: the store connects by itself."""

    async def stop(self) -> None:
        """Ends all subscriptions."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.stop()

    async def publish(self, topic: str, key: str, message: ProtoMessage, *, traceparent: str = "") -> None:
        """Adds an event to its partition. Raises EventBusError."""
        span = self.tracer.start(
            f"events.publish {topic}", kind="producer", parent=traceparent or None,
            attributes={"messaging.destination": topic, "messaging.key": key,
                        "sip.call_id": getattr(message, "call_id", "")},
        )  # fmt: skip
        headers = headers_of(message, span.traceparent or traceparent, round(self._clock.wall() * 1000))
        fields: list[str | bytes] = ["key", key, "payload", message.SerializeToString()]
        for name, value in headers.items():
            fields += [name, value]
        stream = self.stream(topic, partition_of(key, self.partitions))
        try:
            await self.store.execute("XADD", stream, "MAXLEN", "~", self._retention, "*", *fields)
        except StoreError as error:
            PUBLISHED.labels(topic, "failed").inc()
            span.end("error")
            raise EventBusError(f"the event could not be published: {error}") from None
        PUBLISHED.labels(topic, "ok").inc()
        span.end()

    def subscribe(
        self, topic: str, message_type: type[ProtoMessage], handler: Handler, *, group: str | None = None
    ) -> _Tail | _Member:
        """Begins in the background."""
        subscription: _Tail | _Member
        if group is None:
            subscription = _Tail(self, topic, message_type, handler)
        else:
            subscription = _Member(self, topic, message_type, handler, group)
        self._subscriptions.append(subscription)
        return subscription

    @staticmethod
    def stream(topic: str, partition: int) -> str:
        """The key of a partition."""
        return f"parley:ev:{{{topic}/{partition}}}"

    async def bury(self, event: Event) -> None:
        """Puts an event that cannot be handled aside."""
        await self.publish(event.topic + DEAD_SUFFIX, event.key, event.message, traceparent=event.traceparent)


class _Reader:
    """What both kinds of subscription share: a task, and turning entries into events."""

    def __init__(self, bus: RedisStreamsBus, topic: str, message_type: type[ProtoMessage], handler: Handler) -> None:
        self._bus = bus
        self._topic = topic
        self._message_type = message_type
        self._handler = handler
        self._task = asyncio.get_running_loop().create_task(self._forever(), name=f"events {topic}")

    async def stop(self) -> None:
        """Ends the task."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _forever(self) -> None:
        pause = _IDLE_S
        while True:
            try:
                busy = await self._step()
            except (StoreError, EventBusError) as error:
                logger.info("events of %s cannot be read: %s", self._topic, error)
                busy, pause = False, 1.0
            pause = _IDLE_S if busy else min(pause * 1.5, _IDLE_MAX_S) if pause < 1.0 else _IDLE_MAX_S
            await asyncio.sleep(0 if busy else pause)

    async def _step(self) -> bool:
        raise NotImplementedError

    async def _handle(self, fields: list[bytes]) -> None:
        values = {fields[i].decode(): fields[i + 1] for i in range(0, len(fields) - 1, 2)}
        payload = values.pop("payload", b"")
        headers = {name: value.decode("utf-8", "replace") for name, value in values.items()}
        event = decode(self._topic, headers.pop("key", ""), payload, headers, self._message_type)
        if event is not None:
            await handle(event, self._handler, self._bus.tracer, self._bus.bury)


class _Tail(_Reader):
    """Every event since the subscription began."""

    def __init__(self, bus: RedisStreamsBus, topic: str, message_type: type[ProtoMessage], handler: Handler) -> None:
        self._last: dict[int, str] = {}
        super().__init__(bus, topic, message_type, handler)

    async def _step(self) -> bool:
        bus = self._bus
        if len(self._last) < bus.partitions:
            await self._find_ends()
        commands: list[list[Any]] = [
            ["XRANGE", bus.stream(self._topic, partition), f"({self._last[partition]}", "+", "COUNT", _COUNT]
            for partition in range(bus.partitions)
        ]
        busy = False
        for partition, reply in enumerate(await bus.store.pipeline(commands)):
            if isinstance(reply, BaseException):
                raise reply
            for entry_id, fields in reply:
                await self._handle(fields)
                self._last[partition] = entry_id.decode()
                busy = True
        return busy

    async def _find_ends(self) -> None:
        bus = self._bus
        for partition in range(bus.partitions):
            if partition not in self._last:
                newest = await bus.store.execute("XREVRANGE", bus.stream(self._topic, partition), "+", "-", "COUNT", 1)
                self._last[partition] = newest[0][0].decode() if newest else "0-0"


class _Member(_Reader):
    """A member of a group: reads the partitions whose lease it holds."""

    def __init__(
        self, bus: RedisStreamsBus, topic: str, message_type: type[ProtoMessage], handler: Handler, group: str
    ) -> None:
        self._group = group
        self._name = token_hex(6)
        self._held: dict[int, bool] = {}
        """Partitions held; True when what the last holder left open was looked at."""
        self._created: set[int] = set()
        self._renew_at = 0.0
        super().__init__(bus, topic, message_type, handler)

    async def stop(self) -> None:
        """Ends the task and gives the partitions back."""
        await super().stop()
        with contextlib.suppress(StoreError):
            for partition in self._held:
                await self._bus.store.execute("EVAL", _RELEASE, 1, self._lease(partition), self._name,
                                              key=self._lease(partition))  # fmt: skip
            await self._bus.store.execute("ZREM", self._members(), self._name)

    def _lease(self, partition: int) -> str:
        return f"{self._bus.stream(self._topic, partition)}:{self._group}:lease"

    def _members(self) -> str:
        return f"parley:ev:{{{self._topic}}}:{self._group}:members"

    async def _step(self) -> bool:
        if asyncio.get_running_loop().time() >= self._renew_at:
            await self._share_out()
            self._renew_at = asyncio.get_running_loop().time() + _RENEW_S
        busy = False
        for partition in list(self._held):
            busy = await self._read(partition) or busy
        return busy

    async def _share_out(self) -> None:
        """Takes a fair share of the partitions, and gives back what is more than that."""
        store, bus = self._bus.store, self._bus
        now = await self._now()
        await store.execute("ZADD", self._members(), now + _LEASE_MS / 1000, self._name)
        await store.execute("ZREMRANGEBYSCORE", self._members(), "-inf", now)
        members = [name.decode() for name in await store.execute("ZRANGE", self._members(), 0, -1)]
        members.sort()
        share = -(-bus.partitions // max(1, len(members)))
        first = members.index(self._name) if self._name in members else 0
        order = [(first + i * max(1, len(members))) % bus.partitions for i in range(bus.partitions)]
        order = list(dict.fromkeys([*self._held, *order, *range(bus.partitions)]))
        held: dict[int, bool] = {}
        for partition in order:
            key = self._lease(partition)
            if len(held) >= share:
                if partition in self._held:
                    await store.execute("EVAL", _RELEASE, 1, key, self._name, key=key)
                continue
            got = await store.execute("EVAL", _RENEW, 1, key, self._name, _LEASE_MS, key=key)
            if got:
                held[partition] = self._held.get(partition, False) if got == 1 else False
                await self._create(partition)
        self._held = held

    async def _now(self) -> float:
        seconds, micros = await self._bus.store.execute("TIME", key=self._members())
        return int(seconds) + int(micros) / 1e6

    async def _create(self, partition: int) -> None:
        if partition in self._created:
            return
        try:
            await self._bus.store.execute(
                "XGROUP", "CREATE", self._bus.stream(self._topic, partition), self._group, "0", "MKSTREAM",
                key=self._bus.stream(self._topic, partition),
            )  # fmt: skip
        except StoreError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._created.add(partition)

    async def _read(self, partition: int) -> bool:
        """Handles what is new; after taking a partition over, first what was left unacknowledged."""
        store, stream = self._bus.store, self._bus.stream(self._topic, partition)
        if not self._held[partition]:
            reply = await store.execute("XAUTOCLAIM", stream, self._group, self._name, 0, "0-0", "COUNT", _COUNT, key=stream)
            entries = reply[1]
            if not entries:
                self._held[partition] = True
        else:
            reply = await store.execute(
                "XREADGROUP",
                "GROUP",
                self._group,
                self._name,
                "COUNT",
                _COUNT,
                "STREAMS",
                stream,
                ">",
                key=stream,
            )
            entries = reply[0][1] if reply else []
        for entry_id, fields in entries:
            if asyncio.get_running_loop().time() >= self._renew_at + _RENEW_S:
                self._held[partition] = False  # the lease comes first; what is left is claimed again
                return True
            if fields:
                await self._handle(fields)
            await store.execute("XACK", stream, self._group, entry_id, key=stream)
        return bool(entries)
