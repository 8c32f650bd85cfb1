"""The outbox: events are published in order, at least once, and the bus may be away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from parley.platform.events.api import EventBusError
from parley.platform.outbox import OutboxRelay, Record
from parley.platform.store.client import Store
from parley.proto.events.v1.user_pb2 import UserChanged
from tests.integration.services.rig import Bus, all_keys, store_of
from tests.support.valkey import Valkey, ValkeyCluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

LIST = "parley:test:{a}:outbox"
OTHER = "parley:test:{b}:outbox"


def decode(raw: bytes) -> Record:
    """An entry is "key:number"."""
    key, number = raw.decode().split(":")
    return Record("t", key, UserChanged(address=key, version=int(number)), "00-trace")


def relay_of(store: Store, bus: Bus, lists: Sequence[str] = (LIST,), **options: int) -> OutboxRelay:
    """A relay that tests drive."""
    return OutboxRelay("test", store, bus, lists, decode, **options)


async def push(store: Store, *entries: str, key: str = LIST) -> None:
    """As a script does."""
    await store.execute("RPUSH", key, *entries)


async def relay_all(relay: OutboxRelay) -> None:
    """What the task of the relay does each second."""
    await relay.look()
    await relay.relay()


async def taken(bus: Bus, count: int) -> None:
    """Returns when the bus has taken so many."""

    async def look() -> bool:
        return len(bus.taken) == count

    await eventually(look)


def waiting() -> float | None:
    """The events that wait, as of the last look."""
    return REGISTRY.get_sample_value("parley_outbox_waiting", {"service": "test"})


def dropped(reason: str) -> float:
    """The counter."""
    return REGISTRY.get_sample_value("parley_outbox_dropped_total", {"service": "test", "reason": reason}) or 0.0


async def test_events_are_published_in_the_order_of_their_key(store: Store, valkey: Valkey) -> None:
    bus = Bus()
    await push(store, *(f"k{index % 3}:{index}" for index in range(250)))
    await relay_all(relay_of(store, bus))
    assert len(bus.taken) == 250
    for key in ("k0", "k1", "k2"):
        versions = [message.version for message in bus.messages if message.address == key]
        assert versions == sorted(versions)
    assert bus.taken[0][0] == "t"
    assert bus.taken[0][3] == "00-trace"
    assert all_keys(valkey) == set()


async def test_who_pushed_need_not_relay(store: Store) -> None:
    bus = Bus()
    relay = relay_of(store, bus, [LIST, OTHER])
    await push(store, "k:1", key=OTHER)
    relay.wake(LIST)
    await relay.relay()
    assert bus.taken == []
    await relay_all(relay)
    assert len(bus.taken) == 1


async def test_events_wait_while_the_bus_is_away(store: Store) -> None:
    bus = Bus()
    bus.away = True
    relay = relay_of(store, bus, [LIST, OTHER])
    await push(store, "k:1", "k:2")
    await push(store, "k:1", key=OTHER)
    for _ in range(3):
        with pytest.raises(EventBusError):
            await relay_all(relay)
    assert waiting() == 3
    bus.away = False
    await relay.relay()
    await relay.look()
    assert waiting() == 0
    assert sorted(message.version for message in bus.messages) == [1, 1, 2]


async def test_what_was_published_before_a_failure_comes_again_in_order(store: Store) -> None:
    bus = Bus()
    bus.fail_after = 2
    relay = relay_of(store, bus)
    await push(store, "k:1", "k:2", "k:3", "k:4")
    with pytest.raises(EventBusError):
        await relay_all(relay)
    bus.fail_after = None
    await relay.relay()
    assert [message.version for message in bus.messages] == [1, 2, 1, 2, 3, 4]


async def test_more_than_the_bound_drops_the_oldest_and_counts(store: Store) -> None:
    bus = Bus()
    bus.away = True
    relay = relay_of(store, bus, most=10)
    before = dropped("overflow")
    await push(store, *(f"k:{index}" for index in range(25)))
    with pytest.raises(EventBusError):
        await relay_all(relay)
    assert await store.execute("LLEN", LIST) == 10
    assert dropped("overflow") - before == 15
    bus.away = False
    await relay.relay()
    assert [message.version for message in bus.messages] == list(range(15, 25))


async def test_an_event_that_cannot_be_read_does_not_hold_up_the_others(store: Store) -> None:
    bus = Bus()
    before = dropped("unreadable")
    await push(store, "k:1", "rubbish", "k:2")
    await relay_all(relay_of(store, bus))
    assert [message.version for message in bus.messages] == [1, 2]
    assert dropped("unreadable") - before == 1


class SlowBus(Bus):
    """Holds each publication until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def publish(self, topic: str, key: str, message: Any, *, traceparent: str = "") -> None:
        """Waits first."""
        self.entered.set()
        await self.go_on.wait()
        await super().publish(topic, key, message, traceparent=traceparent)


@asynccontextmanager
async def publishing(
    valkey: Valkey, **options: int
) -> AsyncIterator[tuple[asyncio.Task[None], SlowBus, OutboxRelay, Bus, Store]]:
    """A relay that publishes "k:1" until its slow bus is let go, and another one with its bus and its store."""
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        slow, bus = SlowBus(), Bus()
        one, two = relay_of(left, slow, [LIST], **options), relay_of(right, bus, [LIST], **options)
        await push(left, "k:1")
        work = asyncio.create_task(relay_all(one))
        await slow.entered.wait()
        yield work, slow, two, bus, right


async def test_only_one_relay_at_a_time(valkey: Valkey) -> None:
    async with publishing(valkey) as (work, slow, two, bus, right):
        await push(right, "k:2")
        await relay_all(two)
        assert bus.taken == []
        slow.go_on.set()
        await work
        # what was pushed meanwhile is relayed by who held the list, and then the list is free at once
        assert [message.version for message in slow.messages] == [1, 2]
        await push(right, "k:3")
        two.wake(LIST)
        await two.relay()
        assert [message.version for message in bus.messages] == [3]


async def test_a_relay_that_lost_its_lock_takes_nothing_off(valkey: Valkey) -> None:
    async with publishing(valkey) as (work, slow, two, bus, right):
        await right.execute("DEL", f"{LIST}:lock")  # its time ran out
        await relay_all(two)
        await push(right, "k:2")
        slow.go_on.set()
        await work
        assert await right.execute("LLEN", LIST) == 1
        await relay_all(two)
        assert [message.version for message in bus.messages] == [1, 2]


async def test_a_relay_that_publishes_for_long_keeps_its_lock(valkey: Valkey) -> None:
    async with publishing(valkey, lock_ms=400) as (work, slow, two, bus, right):

        async def renewed() -> bool:
            """Its time was set anew, several times by now."""
            await relay_all(two)
            renewals.add(await right.execute("PEXPIRETIME", f"{LIST}:lock"))
            return len(renewals) > 5

        renewals: set[int] = set()
        await eventually(renewed)
        assert bus.taken == []
        slow.go_on.set()
        await work
        assert [message.version for message in slow.messages] == [1]
        assert await right.execute("LLEN", LIST) == 0


async def test_a_relay_that_lost_its_lock_publishes_no_more(valkey: Valkey) -> None:
    """Else what is old by then would come after what another relay publishes."""
    async with publishing(valkey, lock_ms=400) as (work, slow, two, bus, right):
        await right.execute("SET", f"{LIST}:lock", "another relay")
        await work
        assert slow.taken == []
        await right.execute("DEL", f"{LIST}:lock")
        await relay_all(two)
        assert [message.version for message in bus.messages] == [1]


async def test_what_a_dead_relay_held_is_relayed_by_another(valkey: Valkey) -> None:
    async with publishing(valkey) as (work, _slow, two, bus, right):
        work.cancel()  # in the middle, as when its process is killed
        await asyncio.gather(work, return_exceptions=True)
        await relay_all(two)
        assert bus.taken == []
        assert 0 < await right.execute("PTTL", f"{LIST}:lock") <= 4_000  # no longer than a lease of the event bus
        await right.execute("DEL", f"{LIST}:lock")  # its time ran out
        await relay_all(two)
        assert [message.version for message in bus.messages] == [1]


async def test_the_task_relays_what_it_is_woken_for_and_what_others_left(store: Store) -> None:
    bus = Bus()
    relay = relay_of(store, bus, [LIST, OTHER])
    task = asyncio.create_task(relay.run())
    try:
        await push(store, "k:1")
        relay.wake(LIST)
        await taken(bus, 1)
        await push(store, "k:2", key=OTHER)  # nobody wakes it for this one
        await taken(bus, 2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_task_goes_on_when_the_bus_is_back(store: Store) -> None:
    bus = Bus()
    bus.away = True
    relay = relay_of(store, bus)
    failed = asyncio.Event()
    publish = bus.publish

    async def noticed(*args: Any, **options: Any) -> None:
        failed.set()
        await publish(*args, **options)

    bus.publish = noticed  # type: ignore[method-assign]
    task = asyncio.create_task(relay.run())
    try:
        await push(store, "k:1")
        relay.wake(LIST)
        await asyncio.wait_for(failed.wait(), 10)
        bus.away = False
        await taken(bus, 1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lists_on_a_cluster(valkey_cluster: ValkeyCluster) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        lists = [f"parley:test:{{{index}}}:outbox" for index in range(20)]
        bus = Bus()
        for key in lists:
            await push(store, "k:1", "k:2", key=key)
        await relay_all(relay_of(store, bus, lists))
        assert len(bus.taken) == 40
