"""Partitions that go to another member while their event waits for something that is away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from parley.platform.clock import SystemClock
from parley.platform.events import redis_streams
from parley.platform.events.api import Event
from parley.platform.events.kafka import _Workers
from parley.platform.events.redis_streams import RedisStreamsBus, _Member
from parley.platform.store.errors import StoreUnavailable
from parley.proto.events.v1.call_pb2 import CallChanged
from tests.support.waiting import until

PARTITION = TopicPartition("t", 0)


class Commits:
    def __init__(self) -> None:
        self.offsets: list[int] = []

    async def __call__(self, partition: TopicPartition, offset: int) -> None:
        self.offsets.append(offset)


async def hang(_: Any) -> None:
    await asyncio.Event().wait()


async def test_kafka_hands_over_while_the_event_at_hand_waits() -> None:
    commits = Commits()
    workers = _Workers(hang, commits, hand_over_s=0.01)
    workers.put(PARTITION, [SimpleNamespace(offset=1), SimpleNamespace(offset=2)])
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await workers.leave([PARTITION])
    assert commits.offsets == []
    assert workers.waiting == 0


async def test_kafka_finishes_an_event_that_takes_no_longer_than_usual() -> None:
    commits, done = Commits(), asyncio.Event()

    async def handle(_: Any) -> None:
        await done.wait()

    workers = _Workers(handle, commits, hand_over_s=5)
    workers.put(PARTITION, [SimpleNamespace(offset=1), SimpleNamespace(offset=2)])
    await asyncio.sleep(0)
    leaving = asyncio.ensure_future(workers.leave([PARTITION]))
    await asyncio.sleep(0)
    done.set()
    await leaving
    assert commits.offsets == [2]


class Leases:
    """Redis as a member of a group sees it: two partitions, each with an event that nobody has acknowledged."""

    def __init__(self) -> None:
        self.members: list[bytes] = []
        self.lost = self.away = False
        self.released: list[str] = []

    async def execute(self, *args: Any, **_: Any) -> Any:
        self._check()
        return [b"1", b"0"] if args[0] == "TIME" else None

    async def pipeline(self, commands: list[list[Any]], *_: Any) -> list[Any]:
        self._check()
        entry = (b"1-0", [b"key", b"k", b"payload", CallChanged(call_id="c").SerializeToString()])
        replies: dict[str, Any] = {"ZRANGE": self.members, "XAUTOCLAIM": [b"0-0", [entry]], "XINFO": []}
        for command in commands:
            if command[0] == "ZADD" and command[3].encode() not in self.members:
                self.members.append(command[3].encode())
        return [replies.get(command[0]) for command in commands]

    async def renew(self, keys: list[str], args: list[Any]) -> int:
        self._check()
        return 0 if self.lost else 2

    async def many(self, calls: Any) -> list[int]:
        self._check()
        self.released += [keys[0] for keys, _ in calls]
        return [1]

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Handler:
    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0

    async def __call__(self, event: Event) -> None:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.mark.parametrize("how", ["another member came", "the lease is lost", "the store is away"])
async def test_redis_hands_over_while_the_event_at_hand_waits(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_streams, "_RENEW_S", 0.01)
    monkeypatch.setattr(redis_streams, "_LEASE_MS", 300)
    monkeypatch.setattr(redis_streams, "HAND_OVER_S", 0.05)
    leases, handler = Leases(), Handler()
    bus = SimpleNamespace(
        store=leases, partitions=2, tracer=None, clock=SystemClock(), stream=RedisStreamsBus.stream,
        forget=lambda _: None, bury=hang,
    )  # fmt: skip
    monkeypatch.setattr(redis_streams, "Script", lambda store, name, text: _Scripted(store))
    monkeypatch.setattr(redis_streams, "handle", lambda event, handler, *_: handler(event))
    member = _Member(cast(Any, bus), "t", CallChanged, handler, "g")
    try:
        await until(lambda: handler.begun == 2)
        match how:
            case "another member came":
                leases.members.append(b"another")
                await until(lambda: len(leases.released) > 0)
                assert handler.cancelled == 1
                assert handler.begun == 2
            case "the lease is lost":
                leases.lost = True
                await until(lambda: handler.cancelled == 2)
            case "the store is away":
                leases.away = True
                await until(lambda: handler.cancelled == 2)
                leases.away = False
                await until(lambda: handler.begun == 4)
    finally:
        await member.stop()


class _Scripted:
    def __init__(self, store: Leases) -> None:
        self._store = store
        self.many = store.many

    async def __call__(self, keys: list[str], args: list[Any]) -> int:
        return await self._store.renew(keys, args)
