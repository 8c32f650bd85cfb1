"""What every event bus has to do, held against both drivers with their real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import cast

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from parley.platform.events import redis_streams
from parley.platform.events.api import DEAD_SUFFIX, Event
from parley.platform.telemetry.tracing import Tracing
from parley.proto.events.v1.call_pb2 import CallChanged
from tests.support.events import Buses, Listener, all_of
from tests.support.kafka import Kafka
from tests.support.valkey import Valkey
from tests.support.waiting import eventually, until


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.valkey), pytest.param("kafka", marks=pytest.mark.kafka)])
async def make_bus(request: pytest.FixtureRequest) -> AsyncIterator[Buses]:
    if request.param == "kafka":
        made = Buses("kafka", cast(Kafka, request.getfixturevalue("kafka")).servers[0])
    else:
        made = Buses("redis", cast(Valkey, request.getfixturevalue("valkey")).url)
    yield made
    await made.stop()


@pytest.fixture
def topic() -> str:
    return f"parley.test.{token_hex(4)}"


async def test_order_of_a_key_and_content(make_bus: Buses, topic: str) -> None:
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


async def test_members_of_a_group_share_and_groups_do_not(make_bus: Buses, topic: str) -> None:
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


async def test_without_a_group_everyone_hears_what_is_new_and_nothing_old(make_bus: Buses, topic: str) -> None:
    first = make_bus()
    await first.publish(topic, "k", CallChanged(call_id="old", at_ms=1))
    listeners = [Listener(), Listener()]
    for listener in listeners:
        subscription = make_bus().subscribe(topic, CallChanged, listener)
        await asyncio.wait_for(subscription.ready(), 30)
    for number in range(10):
        await first.publish(topic, "k", CallChanged(call_id="new", at_ms=number))
    await all_of(listeners, 20)
    for listener in listeners:
        assert [event.message.call_id for event in listener.events] == ["new"] * 10


async def test_members_share_the_partitions(make_bus: Buses, topic: str) -> None:
    publisher, members = make_bus(), [Listener(), Listener()]
    for member in members:
        await asyncio.wait_for(make_bus().subscribe(topic, CallChanged, member, group="g").ready(), 30)
    number = 0

    async def both_have_work() -> bool:
        nonlocal number
        number += 1
        await publisher.publish(topic, f"k{number}", CallChanged(at_ms=number))
        return all(member.events for member in members)

    await eventually(both_have_work, timeout=30, what="both members get events")
    await all_of(members, number)
    assert {event.message.at_ms for member in members for event in member.events} == set(range(1, number + 1))


async def test_consumer_is_linked_to_the_span_that_published(make_bus: Buses, topic: str) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(None, exporter=exporter)
    bus, listener = make_bus(), Listener()
    bus.tracer = tracing.tracer("test")  # type: ignore[attr-defined]  # both drivers have it
    bus.subscribe(topic, CallChanged, listener, group="g")
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    await bus.publish(topic, "k", CallChanged(call_id="the-call"), traceparent=parent)
    await all_of([listener], 1)
    await make_bus.stop()
    tracing.flush()
    tracing.stop()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    published, consumed = spans[f"events.publish {topic}"], spans[f"events.consume {topic}"]
    assert f"{published.context.trace_id:032x}" == "ab" * 16
    assert consumed.parent is None
    assert [link.context.span_id for link in consumed.links] == [published.context.span_id]
    assert consumed.attributes is not None
    assert consumed.attributes["sip.call_id"] == "the-call"


async def test_an_event_is_handled_again_after_its_consumer_died(make_bus: Buses, topic: str) -> None:
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


async def test_poison_is_put_aside_and_holds_nobody_up(make_bus: Buses, topic: str) -> None:
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


async def test_the_metrics_tell_how_far_a_group_is_behind(
    make_bus: Buses, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_streams, "_LOOK_S", 0.1)
    bus, handled, may_go = make_bus(), Listener(), asyncio.Event()

    async def held_up(event: Event) -> None:
        await may_go.wait()
        await handled(event)

    def lag() -> float | None:
        return REGISTRY.get_sample_value("parley_events_lag", {"topic": topic, "group": "slow"})

    subscription = bus.subscribe(topic, CallChanged, held_up, group="slow")
    await until(lambda: lag() == 0, timeout=30)
    for number in range(80):  # more than are read at a time
        await bus.publish(topic, f"k{number % 2}", CallChanged(at_ms=number))
    await until(lambda: lag() == 80, timeout=30)
    may_go.set()
    await all_of([handled], 80)
    await until(lambda: lag() == 0, timeout=30)
    await subscription.stop()
    assert lag() is None
