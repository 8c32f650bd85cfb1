"""What every event bus has to do, held against both drivers with their real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from secrets import token_hex
from typing import Any

import pytest

from parley.platform.clock import SystemClock
from parley.platform.config import RedisConfig
from parley.platform.events.api import DEAD_SUFFIX, Event, EventBus, EventBusError
from parley.platform.events.kafka import KafkaBus
from parley.platform.events.redis_streams import RedisStreamsBus
from parley.platform.store.client import Store
from parley.proto.events.v1.call_pb2 import CallChanged
from tests.support.kafka import Kafka
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

MakeBus = Callable[[], EventBus]


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.valkey), pytest.param("kafka", marks=pytest.mark.kafka)])
async def make_bus(request: pytest.FixtureRequest) -> AsyncIterator[MakeBus]:
    buses: list[Any] = []
    stores: list[Store] = []

    if request.param == "kafka":
        broker: Kafka = request.getfixturevalue("kafka")

        def make() -> EventBus:
            bus = KafkaBus(broker.servers, SystemClock(), partitions=4)
            buses.append(bus)
            return bus
    else:
        valkey: Valkey = request.getfixturevalue("valkey")

        def make() -> EventBus:
            store = Store(RedisConfig(url=valkey.url))
            stores.append(store)
            bus = RedisStreamsBus(store, SystemClock(), partitions=4)
            buses.append(bus)
            return bus

    yield make
    for bus in buses:
        await bus.stop()
    for store in stores:
        await store.close()


@pytest.fixture
def topic() -> str:
    return f"parley.test.{token_hex(4)}"


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, event: Event) -> None:
        self.events.append(event)

    def numbers(self, key: str) -> list[int]:
        """What came with a key, in order."""
        return [event.message.at_ms for event in self.events if event.key == key]


async def all_of(listeners: list[Listener], count: int) -> None:
    async def look() -> bool:
        return sum(len(listener.events) for listener in listeners) >= count

    await eventually(look, timeout=30, what=f"{count} events, have {[len(x.events) for x in listeners]}")


async def settle(bus: EventBus, topic: str, listeners: list[Listener]) -> None:
    """Returns when every listener without a group hears what is published."""
    for attempt in range(200):
        await bus.publish(topic, "settle", CallChanged(call_id="settle", at_ms=attempt))
        if all(listener.events for listener in listeners):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    for listener in listeners:
        listener.events.clear()


async def test_order_of_a_key_and_content(make_bus: MakeBus, topic: str) -> None:
    bus, listener = make_bus(), Listener()
    bus.subscribe(topic, CallChanged, listener, group="one")
    for number in range(60):
        message = CallChanged(call_id=f"k{number % 6}", at_ms=number, cause="käse")
        await bus.publish(topic, f"k{number % 6}", message, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
    await all_of([listener], 60)
    for key in range(6):
        assert listener.numbers(f"k{key}") == list(range(key, 60, 6))
    event = listener.events[0]
    assert (event.topic, event.message.cause, event.traceparent) == (topic, "käse", f"00-{'ab' * 16}-{'cd' * 8}-01")
    assert event.published_at_ms > 1_700_000_000_000


async def test_members_of_a_group_share_and_groups_do_not(make_bus: MakeBus, topic: str) -> None:
    buses = [make_bus() for _ in range(3)]
    members, alone = [Listener(), Listener()], Listener()
    for bus, member in zip(buses, members, strict=False):
        bus.subscribe(topic, CallChanged, member, group="shared")
    buses[2].subscribe(topic, CallChanged, alone, group="alone")
    for number in range(80):
        await buses[0].publish(topic, f"k{number}", CallChanged(call_id="c", at_ms=number))
    await all_of(members, 80)
    await all_of([alone], 80)
    assert {event.message.at_ms for member in members for event in member.events} == set(range(80))


async def test_without_a_group_everyone_hears_what_is_new_and_nothing_old(make_bus: MakeBus, topic: str) -> None:
    first = make_bus()
    await first.publish(topic, "k", CallChanged(call_id="old", at_ms=1))
    listeners = [Listener(), Listener()]
    for listener in listeners:
        make_bus().subscribe(topic, CallChanged, listener)
    await settle(first, topic, listeners)
    for number in range(10):
        await first.publish(topic, "k", CallChanged(call_id="new", at_ms=number))
    await all_of(listeners, 20)
    for listener in listeners:
        assert [event.message.call_id for event in listener.events] == ["new"] * 10


async def test_an_event_is_handled_again_after_its_consumer_died(make_bus: MakeBus, topic: str) -> None:
    dying, publisher = make_bus(), make_bus()
    begun = asyncio.Event()

    async def never_ends(event: Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    dying.subscribe(topic, CallChanged, never_ends, group="g")
    await publisher.publish(topic, "k", CallChanged(call_id="c", at_ms=7))
    await asyncio.wait_for(begun.wait(), 30)
    await dying.stop()
    heir = Listener()
    make_bus().subscribe(topic, CallChanged, heir, group="g")
    await all_of([heir], 1)
    assert heir.numbers("k") == [7]


async def test_poison_is_put_aside_and_holds_nobody_up(make_bus: MakeBus, topic: str) -> None:
    bus, dead = make_bus(), Listener()
    handled: list[int] = []

    async def picky(event: Event) -> None:
        if event.message.at_ms == 1:
            raise ValueError("poison")
        handled.append(event.message.at_ms)

    bus.subscribe(topic, CallChanged, picky, group="g")
    make_bus().subscribe(topic + DEAD_SUFFIX, CallChanged, dead, group="undertaker")
    for number in range(4):
        await bus.publish(topic, "k", CallChanged(call_id="c", at_ms=number))
    await all_of([dead], 1)
    assert dead.numbers("k") == [1]

    async def rest() -> bool:
        return handled == [0, 2, 3]

    await eventually(rest, timeout=15)


@pytest.mark.valkey
async def test_redis_bus_heals_after_its_server_was_away(tmp_path_factory: pytest.TempPathFactory, topic: str) -> None:
    valkey = Valkey(tmp_path_factory.mktemp("own"))
    with valkey:
        store = Store(RedisConfig(url=valkey.url))
        bus, listener = RedisStreamsBus(store, SystemClock(), partitions=2), Listener()
        bus.subscribe(topic, CallChanged, listener, group="g")
        await bus.publish(topic, "k", CallChanged(at_ms=1))
        await all_of([listener], 1)
        valkey.kill()
        with pytest.raises(EventBusError):
            await bus.publish(topic, "k", CallChanged(at_ms=2))
        valkey.start()

        async def again() -> bool:
            try:
                await bus.publish(topic, "k", CallChanged(at_ms=3))
            except EventBusError:
                return False
            return True

        await eventually(again)
        await all_of([listener], 2)
        assert 3 in listener.numbers("k")
        await bus.stop()
        await store.close()
