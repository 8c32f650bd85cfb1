"""Event buses while consumers die, handlers fail and servers come and go; both drivers with their real servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex
from typing import cast

import pytest

from parley.platform.events import redis_streams
from parley.platform.events.api import Event, EventBusError
from parley.proto.events.v1.call_pb2 import CallChanged
from tests.support.events import PARTITIONS, Buses, Driver, Listener, all_of
from tests.support.kafka import Kafka
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

HANGING_MEMBER = """
import asyncio, sys
from parley.proto.events.v1.call_pb2 import CallChanged
from tests.support.events import Buses

async def main():
    driver, address, topic = sys.argv[1:]

    async def handle(event):
        print("begun", flush=True)
        await asyncio.Event().wait()

    Buses(driver, address)().subscribe(topic, CallChanged, handle, group="g")
    await asyncio.Event().wait()

asyncio.run(main())
"""

DRIVERS = [pytest.param("redis", marks=pytest.mark.valkey), pytest.param("kafka", marks=pytest.mark.kafka)]


@pytest.fixture(params=DRIVERS)
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[Buses]:
    if request.param == "kafka":
        made = Buses("kafka", cast(Kafka, request.getfixturevalue("kafka")).servers[0])
    else:
        made = Buses("redis", cast(Valkey, request.getfixturevalue("valkey")).url)
    yield made
    await made.stop()


@pytest.fixture
def topic() -> str:
    return f"parley.test.{token_hex(4)}"


def keys_of_two_partitions() -> tuple[str, str]:
    """Keys that differ in their partition for both drivers, whatever their hash."""
    from aiokafka.partitioner import murmur2

    from parley.platform.events.codec import partition_of

    def partitions(key: str) -> tuple[int, int]:
        return partition_of(key, PARTITIONS), (murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS

    first = partitions("k0")
    return "k0", next(
        key for key in (f"k{i}" for i in range(1, 100)) if all(a != b for a, b in zip(first, partitions(key), strict=True))
    )


async def test_event_of_a_killed_process_is_handled_by_another_member(buses: Buses, topic: str) -> None:
    member = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING_MEMBER, buses.driver, buses.address, topic,
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    publisher = buses()
    for number in range(3):
        await publisher.publish(topic, "k", CallChanged(at_ms=number))
    assert member.stdout is not None
    assert await asyncio.wait_for(member.stdout.readline(), 30) == b"begun\n"
    heir = Listener()
    buses().subscribe(topic, CallChanged, heir, group="g")
    member.kill()
    await member.wait()
    await all_of([heir], 3)
    assert heir.numbers("k") == [0, 1, 2]


async def test_key_that_fails_does_not_hold_up_the_others(buses: Buses, topic: str) -> None:
    failing, healthy = keys_of_two_partitions()
    handled: list[str] = []
    tries = 0

    async def picky(event: Event) -> None:
        nonlocal tries
        if event.key == failing:
            tries += 1
            raise ValueError("poison")
        handled.append(f"{event.key} {tries}")

    bus = buses()
    bus.subscribe(topic, CallChanged, picky, group="g")
    await bus.publish(topic, failing, CallChanged(at_ms=1))

    async def tried() -> bool:
        return tries >= 1

    await eventually(tried, timeout=30)
    await bus.publish(topic, healthy, CallChanged(at_ms=2))

    async def passed() -> bool:
        return bool(handled)

    await eventually(passed, timeout=30)
    assert int(handled[0].split()[1]) < 5, "the other key waited until the poison was put aside"


async def test_bytes_that_are_no_such_message_are_passed_over(buses: Buses, topic: str) -> None:
    from google.protobuf.wrappers_pb2 import BytesValue

    bus, listener = buses(), Listener()
    bus.subscribe(topic, CallChanged, listener, group="g")
    await bus.publish(topic, "k", BytesValue(value=b"\xff" * 9))
    await bus.publish(topic, "k", CallChanged(at_ms=2))
    await all_of([listener], 1)
    assert listener.numbers("k") == [2]


async def test_order_holds_while_members_come_and_go(buses: Buses, topic: str) -> None:
    seen: dict[str, list[int]] = {}
    busy: set[str] = set()
    overlapped: list[str] = []

    async def handle(event: Event) -> None:
        if event.key in busy:
            overlapped.append(event.key)
        busy.add(event.key)
        try:
            await asyncio.sleep(0.002)
        finally:  # a member that is stopped leaves its event to another
            busy.discard(event.key)
        seen.setdefault(event.key, []).append(event.message.at_ms)

    publisher = buses()
    for _ in range(2):
        buses().subscribe(topic, CallChanged, handle, group="g")
    for number in range(300):
        await publisher.publish(topic, f"k{number % 7}", CallChanged(at_ms=number))
        if number == 100:
            buses().subscribe(topic, CallChanged, handle, group="g")
        if number == 200:
            await buses.made[1].stop()

    async def complete() -> bool:
        return sum(len(set(numbers)) for numbers in seen.values()) == 300

    await eventually(complete, timeout=40, what="every event is handled")
    assert overlapped == []
    for numbers in seen.values():
        first_seen = list(dict.fromkeys(numbers))
        assert first_seen == sorted(first_seen)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_bus_that_is_away_at_first_stops_nobody(driver: Driver, tmp_path: Path, topic: str,
                                                      request: pytest.FixtureRequest) -> None:  # fmt: skip
    server: Valkey | Kafka
    if driver == "kafka":
        request.getfixturevalue("kafka")  # skips when there is none
        server = Kafka(tmp_path)
        made = Buses("kafka", server.servers[0])
    else:
        server = Valkey(tmp_path)
        made = Buses("redis", server.url)
    bus, members, tail = made(), Listener(), Listener()
    await bus.start()
    bus.subscribe(topic, CallChanged, members, group="g")
    made().subscribe(topic, CallChanged, tail)
    with pytest.raises(EventBusError):
        await bus.publish(topic, "k", CallChanged(at_ms=0))
    server.start()
    try:
        number = 0

        async def heard() -> bool:
            nonlocal number
            number += 1
            try:
                await bus.publish(topic, "k", CallChanged(at_ms=number))
            except EventBusError:
                return False
            return bool(members.events and tail.events)

        await eventually(heard, timeout=40, what="the bus works once its server is there")
        await asyncio.to_thread(server.kill)
        with pytest.raises(EventBusError):
            await bus.publish(topic, "k", CallChanged(at_ms=-1))
        server.start()
        members.events.clear()
        tail.events.clear()
        await eventually(heard, timeout=60, what="the bus works again after its server was away")
        server.kill()
        await asyncio.wait_for(made.stop(), 30)
    finally:
        server.kill()


@pytest.mark.valkey
async def test_nothing_is_stranded_when_redis_fails_in_the_middle_of_a_batch(tmp_path: Path, topic: str) -> None:
    with Valkey(tmp_path) as server:
        buses = Buses("redis", server.url)
        publisher = buses()
        for number in range(20):
            await publisher.publish(topic, "k", CallChanged(at_ms=number))
        await buses.stores[0].durable("SET", "all", "written")
        handled: list[int] = []

        async def handle(event: Event) -> None:
            handled.append(event.message.at_ms)
            if len(handled) == 5:
                await asyncio.to_thread(server.kill)

        buses().subscribe(topic, CallChanged, handle, group="g")

        async def in_the_middle() -> bool:
            return len(handled) >= 5

        await eventually(in_the_middle)
        server.start()

        async def rest() -> bool:
            return set(handled) == set(range(20))

        await eventually(rest, timeout=20, what="all that was delivered is handled")
        assert list(dict.fromkeys(handled)) == list(range(20))
        await buses.stop()


@pytest.mark.valkey
async def test_slow_handler_keeps_its_partition(valkey: Valkey, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_streams, "_LEASE_MS", 600)
    monkeypatch.setattr(redis_streams, "_RENEW_S", 0.1)
    buses = Buses("redis", valkey.url)
    handled: list[int] = []
    running = 0
    most = 0

    async def slow(event: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(2 if event.message.at_ms == 0 else 0)
        running -= 1
        handled.append(event.message.at_ms)

    publisher = buses()
    for _ in range(2):
        buses().subscribe(topic, CallChanged, slow, group="g")
    for number in range(5):
        await publisher.publish(topic, "k", CallChanged(at_ms=number))

    async def done() -> bool:
        return len(handled) >= 5

    await eventually(done, timeout=20)
    assert handled == [0, 1, 2, 3, 4]
    assert most == 1
    await buses.stop()


@pytest.mark.valkey
async def test_a_member_hears_of_an_event_before_it_looks_by_itself(
    valkey: Valkey, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_IDLE_S", "_IDLE_MAX_S"):
        monkeypatch.setattr(redis_streams, name, 60.0)
    here, there = Buses("redis", valkey.url), Buses("redis", valkey.url)
    try:
        listener = Listener()
        subscription = there().subscribe(topic, CallChanged, listener, group="g")
        await subscription.ready()
        publisher = here()
        for number in range(3):
            await publisher.publish(topic, "key", CallChanged(call_id=f"{number}"))
            await all_of([listener], number + 1)
    finally:
        await here.stop()
        await there.stop()


async def test_group_that_was_lost_with_its_data_is_made_again(valkey: Valkey, topic: str) -> None:
    buses, listener = Buses("redis", valkey.url), Listener()
    bus = buses()
    bus.subscribe(topic, CallChanged, listener, group="g")
    await bus.publish(topic, "k", CallChanged(at_ms=1))
    await all_of([listener], 1)
    valkey.flush()
    await bus.publish(topic, "k", CallChanged(at_ms=2))
    await all_of([listener], 2)
    assert listener.numbers("k") == [1, 2]
    await buses.stop()
