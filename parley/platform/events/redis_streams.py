"""The event bus on Redis Streams, for one machine and for small clusters.

A topic is a fixed number of streams, one for each partition; a key always goes to the same one. A member of a group holds
a lease on each partition it reads, so that the events of a key are handled one after the other; the leases are shared out
evenly among the members. An event that was delivered but not acknowledged is delivered again to whoever holds the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Sequence
from secrets import token_hex
from typing import Any, Final

from google.protobuf.message import Message as ProtoMessage

from parley.platform.clock import Clock
from parley.platform.events.api import DEAD_SUFFIX, HAND_OVER_S, PUBLISHED, Event, EventBusError, Handler
from parley.platform.events.backlog import Backlog
from parley.platform.events.bell import Bell
from parley.platform.events.codec import decode, headers_of, partition_of
from parley.platform.events.handling import handle
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.store.scripts import Script
from parley.platform.telemetry.repeats import Repeats
from parley.platform.telemetry.tracing import NO_TRACER, Tracer

logger = logging.getLogger(__name__)

_LEASE_MS: Final = 4_000
_RENEW_S: Final = 1.0
_IDLE_S: Final = 0.02
_IDLE_MAX_S: Final = 1.0
"""The bell wakes a reader; this is for a ring that was lost."""
_AWAY_S: Final = 1.0
_LOOK_S: Final = 10.0
"""How often the backlog of a group is asked for, for the metrics."""
_TAKEN_ANEW: Final = 2
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
        self.clock = clock
        self._retention = retention
        self._subscriptions: list[_Tail | _Member] = []
        self._bell = Bell(store, self._rung)

    async def start(self) -> None:
        """Nothing to do: the store connects by itself."""

    async def check(self) -> None:
        """See `parley.platform.events.api.EventBus`."""
        try:
            await self.store.check()
        except StoreError as error:
            raise EventBusError(str(error)) from None

    async def stop(self) -> None:
        """Ends all subscriptions."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.stop()
        await self._bell.stop()

    def _rung(self, topic: str) -> None:
        for subscription in self._subscriptions:
            subscription.wake(topic)

    async def publish(self, topic: str, key: str, message: ProtoMessage, *, traceparent: str = "") -> None:
        """Adds an event to its partition. Raises EventBusError."""
        span = self.tracer.start(
            f"events.publish {topic}", kind="producer", parent=traceparent or None,
            attributes={"messaging.destination": topic, "messaging.key": key,
                        "sip.call_id": getattr(message, "call_id", "")},
        )  # fmt: skip
        headers = headers_of(message, span.traceparent or traceparent, round(self.clock.wall() * 1000))
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
        self._bell.ring(topic)

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
        self._bell.listen()
        return subscription

    def forget(self, subscription: object) -> None:
        """A subscription ended."""
        self._subscriptions = [known for known in self._subscriptions if known is not subscription]

    @staticmethod
    def stream(topic: str, partition: int) -> str:
        """The key of a partition."""
        return f"parley:ev:{{{topic}/{partition}}}"

    async def bury(self, event: Event) -> None:
        """Puts an event that cannot be handled aside."""
        await self.publish(event.topic + DEAD_SUFFIX, event.key, event.message, traceparent=event.traceparent)


class _Reader:
    """What both kinds of subscription share: reading partitions side by side, and turning entries into events.

    The events of a partition are handled one after the other, and nothing more is read from it meanwhile; a partition whose
    handler is slow or fails does not hold up the others.
    """

    def __init__(
        self, bus: RedisStreamsBus, topic: str, message_type: type[ProtoMessage], handler: Handler, group: str | None
    ) -> None:
        self._bus = bus
        self._store = bus.store
        self._topic = topic
        self._message_type = message_type
        self._handler = handler
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._began = asyncio.Event()
        self._repeats = Repeats()
        self._backlog = Backlog(topic, group)
        self._tasks = [asyncio.get_running_loop().create_task(self._read_forever(), name=f"events {topic}")]

    async def ready(self) -> None:
        """See `parley.platform.events.api.Subscription`."""
        await self._began.wait()

    def wake(self, topic: str) -> None:
        """Something was published in a topic."""
        if topic == self._topic:
            self._wake.set()

    async def stop(self) -> None:
        """Ends the tasks."""
        tasks = [*self._tasks, *self._busy.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._backlog.close()
        self._bus.forget(self)

    async def _read_forever(self) -> None:
        pause = _IDLE_S
        while True:
            try:
                found = await self._poll()
            except Exception as error:
                self._log(error)
                found, pause = False, _AWAY_S
            else:
                pause = _IDLE_S if found else min(pause * 1.5, _IDLE_MAX_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()

    async def _poll(self) -> bool:
        """Reads the partitions that nothing is being handled of; whether there was anything."""
        raise NotImplementedError

    async def _work(self, partition: int, entries: Sequence[Any]) -> None:
        raise NotImplementedError

    def _begin(self, partition: int, entries: Sequence[Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(partition, entries), name=f"events {self._topic}")
        self._busy[partition] = task

    async def _guarded(self, partition: int, entries: Sequence[Any]) -> None:
        try:
            await self._work(partition, entries)
        except Exception as error:
            self._log(error)
            await asyncio.sleep(_AWAY_S)
        finally:
            del self._busy[partition]
            self._wake.set()

    def _log(self, error: Exception) -> None:
        self._backlog.cannot_read()
        if isinstance(error, (StoreError, EventBusError)):
            if self._repeats.is_due(str(error)):
                logger.info("events of %s cannot be read: %s", self._topic, error)
        else:
            logger.error("reading events of %s failed", self._topic, exc_info=error)

    async def _handle(self, fields: list[bytes]) -> None:
        values = {fields[i].decode(): fields[i + 1] for i in range(0, len(fields) - 1, 2)}
        payload = values.pop("payload", b"")
        headers = {name: value.decode("utf-8", "replace") for name, value in values.items()}
        event = decode(self._topic, headers.pop("key", ""), payload, headers, self._message_type)
        if event is not None:
            await handle(event, self._handler, self._bus.tracer, self._bus.bury, self._bus.clock)


class _Tail(_Reader):
    """Every event since the subscription began."""

    def __init__(self, bus: RedisStreamsBus, topic: str, message_type: type[ProtoMessage], handler: Handler) -> None:
        self._last: dict[int, str] = {}
        super().__init__(bus, topic, message_type, handler, None)

    async def _poll(self) -> bool:
        bus = self._bus
        if len(self._last) < bus.partitions:
            await self._find_ends()
        idle = [partition for partition in range(bus.partitions) if partition not in self._busy]
        replies = await self._store.pipeline(
            [["XRANGE", bus.stream(self._topic, each), f"({self._last[each]}", "+", "COUNT", _COUNT] for each in idle]
        )
        for partition, reply in zip(idle, replies, strict=True):
            if reply and not isinstance(reply, BaseException):
                self._begin(partition, reply)
        _raise_first(replies)
        return any(replies)

    async def _work(self, partition: int, entries: Sequence[Any]) -> None:
        for entry_id, fields in entries:
            await self._handle(fields)
            self._last[partition] = entry_id.decode()

    async def _find_ends(self) -> None:
        bus = self._bus
        streams = [bus.stream(self._topic, partition) for partition in range(bus.partitions)]
        newest = await self._store.pipeline([["XREVRANGE", stream, "+", "-", "COUNT", 1] for stream in streams])
        for partition, reply in enumerate(newest):
            if not isinstance(reply, BaseException):
                self._last.setdefault(partition, reply[0][0].decode() if reply else "0-0")
        _raise_first(newest)
        self._began.set()


class _Member(_Reader):
    """A member of a group: reads the partitions whose lease it holds, and renews the leases beside that."""

    def __init__(
        self, bus: RedisStreamsBus, topic: str, message_type: type[ProtoMessage], handler: Handler, group: str
    ) -> None:
        self._group = group
        self._name = token_hex(6)
        self._held: set[int] = set()
        self._fresh: set[int] = set()
        """Partitions of which nothing is left that was delivered and not acknowledged."""
        self._leaving: dict[int, float] = {}
        """Partitions held that another member is to have, once what is being handled is done; since when (loop time)."""
        self._held_until = 0.0
        self._renew = Script(bus.store, "lease-renew", _RENEW)
        self._release = Script(bus.store, "lease-release", _RELEASE)
        super().__init__(bus, topic, message_type, handler, group)
        self._tasks.append(asyncio.get_running_loop().create_task(self._share_forever(), name=f"leases {topic}"))

    async def stop(self) -> None:
        """Ends the tasks and gives the partitions back."""
        await super().stop()
        with contextlib.suppress(StoreError):
            await self._give_back(self._held)
            await self._store.execute("ZREM", self._members(), self._name)

    def _stream(self, partition: int) -> str:
        return self._bus.stream(self._topic, partition)

    def _lease(self, partition: int) -> str:
        return f"{self._stream(partition)}:{self._group}:lease"

    def _members(self) -> str:
        return f"parley:ev:{{{self._topic}}}:{self._group}:members"

    # Leases

    async def _share_forever(self) -> None:
        loop = asyncio.get_running_loop()
        look_at = 0.0
        while True:
            try:
                await self._share_out()
                if loop.time() >= look_at:
                    look_at = loop.time() + _LOOK_S
                    self._backlog.events = await self._behind()
            except Exception as error:
                self._log(error)
                if not self._may_work():  # others may have the partitions by now
                    await self._abandon(list(self._busy))
            await asyncio.sleep(_RENEW_S)

    async def _share_out(self) -> None:
        """Takes a fair share of the partitions, and gives back what is more than that."""
        begun = asyncio.get_running_loop().time()
        members = await self._living_members()
        partitions = self._bus.partitions
        share = -(-partitions // max(1, len(members)))
        first = members.index(self._name) if self._name in members else 0
        order = [(first + i * max(1, len(members))) % partitions for i in range(partitions)]
        order = list(dict.fromkeys([*sorted(self._held - self._leaving.keys()), *order, *range(partitions)]))
        held: set[int] = set()
        for partition in order:
            if len(held) >= share:
                break
            if await self._take(partition):
                held.add(partition)
        for partition in self._held - held:
            await self._leave(partition, begun)
        self._leaving = {partition: since for partition, since in self._leaving.items() if partition not in held}
        self._held = held | self._leaving.keys()
        self._fresh &= self._held
        self._held_until = begun + _LEASE_MS / 1000
        self._began.set()
        self._wake.set()

    async def _leave(self, partition: int, now: float) -> None:
        """Gives a partition back, after what is being handled, unless that takes too long or the lease is lost."""
        if partition in self._busy:
            if await self._take(partition) and now < self._leaving.setdefault(partition, now) + HAND_OVER_S:
                return
            await self._abandon([partition])
        self._leaving.pop(partition, None)
        await self._give_back([partition])

    async def _abandon(self, partitions: Collection[int]) -> None:
        """Ends what is being handled; it was not acknowledged, so whoever has the lease then handles it again."""
        tasks = [self._busy[partition] for partition in partitions if partition in self._busy]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_RENEW_S)

    async def _behind(self) -> int:
        """Events of the partitions held that are not handled: delivered and not acknowledged, or not delivered."""
        streams = [self._stream(partition) for partition in sorted(self._held)]
        replies = await self._store.pipeline([["XINFO", "GROUPS", stream] for stream in streams], streams)
        _raise_first(replies)
        behind = 0
        for reply in replies:
            for fields in reply:
                group = dict(zip(fields[::2], fields[1::2], strict=True))
                if group[b"name"] == self._group.encode():
                    behind += group[b"pending"] + (group.get(b"lag") or 0)
        return behind

    async def _living_members(self) -> list[str]:
        key = self._members()
        seconds, micros = await self._store.execute("TIME", key=key)
        now = int(seconds) + int(micros) / 1e6
        replies = await self._store.pipeline(
            [["ZADD", key, now + _LEASE_MS / 1000, self._name], ["ZREMRANGEBYSCORE", key, "-inf", now],
             ["ZRANGE", key, 0, -1]],
        )  # fmt: skip
        _raise_first(replies)
        return sorted(name.decode() for name in replies[2])

    async def _take(self, partition: int) -> bool:
        """Takes or renews a lease."""
        got = await self._renew([self._lease(partition)], [self._name, _LEASE_MS])
        if got == _TAKEN_ANEW:
            self._fresh.discard(partition)
            await self._create_group(partition)
        return bool(got)

    async def _give_back(self, partitions: Collection[int]) -> None:
        await self._release.many([([self._lease(partition)], [self._name]) for partition in partitions])

    async def _create_group(self, partition: int) -> None:
        stream = self._stream(partition)
        try:
            await self._store.execute("XGROUP", "CREATE", stream, self._group, "0", "MKSTREAM", key=stream)
        except StoreError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    # Events

    async def _poll(self) -> bool:
        """Reads what is new; after taking a partition or a failure, first what was left unacknowledged."""
        if not self._may_work():
            return False
        idle = [each for each in self._held - self._leaving.keys() if each not in self._busy]
        streams = [self._stream(each) for each in idle]
        replies = await self._store.pipeline(
            [
                ["XREADGROUP", "GROUP", self._group, self._name, "COUNT", _COUNT, "STREAMS", stream, ">"]
                if each in self._fresh
                else ["XAUTOCLAIM", stream, self._group, self._name, 0, "0-0", "COUNT", _COUNT]
                for each, stream in zip(idle, streams, strict=True)
            ],
            streams,
        )
        found = False
        for partition, reply in zip(idle, replies, strict=True):
            if isinstance(reply, BaseException):
                self._fresh.discard(partition)
                if str(reply).startswith("NOGROUP"):
                    await self._create_group(partition)
                continue
            if partition in self._fresh:
                entries = reply[0][1] if reply else []
            else:
                entries = reply[1]
                if not entries:
                    self._fresh.add(partition)
                    found = True  # look for what is new at once
            if entries:
                found = True
                self._begin(partition, entries)
        _raise_first(replies)
        return found

    async def _work(self, partition: int, entries: Sequence[Any]) -> None:
        stream = self._stream(partition)
        fresh = partition in self._fresh
        self._fresh.discard(partition)  # until all of these are acknowledged
        for entry_id, fields in entries:
            if partition not in self._held or partition in self._leaving or not self._may_work():
                return
            if fields:
                await self._handle(fields)
            await self._store.execute("XACK", stream, self._group, entry_id, key=stream)
        if fresh and partition in self._held:
            self._fresh.add(partition)

    def _may_work(self) -> bool:
        """Whether the leases have not run out, as they do while Redis is away or this process stands still."""
        return asyncio.get_running_loop().time() < self._held_until


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
