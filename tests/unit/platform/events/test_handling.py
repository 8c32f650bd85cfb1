"""Handlers that fail, and what becomes of the event."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from grpc import StatusCode
from prometheus_client import REGISTRY

from parley.platform.clock import FakeClock
from parley.platform.events import handling
from parley.platform.events.api import AWAY_S, MAX_TRIES, Event, EventBusError
from parley.platform.events.handling import handle
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError, StoreTimeout, StoreUnavailable
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.events.v1.call_pb2 import CallChanged

EVENT = Event("t", "k", CallChanged(call_id="c"), "", 0)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling, "RETRY_S", 0)


class Handler:
    """Fails so many times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0
        self.buried: list[Event] = []

    async def __call__(self, event: Event) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ValueError("no")

    async def bury(self, event: Event) -> None:
        self.buried.append(event)


@pytest.mark.parametrize("failures", [0, 1, MAX_TRIES - 1])
async def test_handled_at_last(failures: int) -> None:
    handler = Handler(failures)
    await handle(EVENT, handler, NO_TRACER, handler.bury, FakeClock())
    assert handler.calls == failures + 1
    assert handler.buried == []


async def test_buried_after_the_last_try() -> None:
    handler = Handler(MAX_TRIES + 5)
    await handle(EVENT, handler, NO_TRACER, handler.bury, FakeClock())
    assert handler.calls == MAX_TRIES
    assert handler.buried == [EVENT]


AWAY = [
    StoreUnavailable("away"), StoreTimeout("away"), EventBusError("away"), RpcError(StatusCode.UNAVAILABLE, ""),
    RpcError(StatusCode.DEADLINE_EXCEEDED, ""), RpcError(StatusCode.RESOURCE_EXHAUSTED, ""),
]  # fmt: skip


class Needy:
    """Needs something that is away until a time; each try takes ten seconds."""

    def __init__(self, error: Exception, clock: FakeClock, seconds: float) -> None:
        self.error = error
        self.clock = clock
        self.back_at = clock.monotonic() + seconds
        self.calls = 0

    async def __call__(self, event: Event) -> None:
        self.calls += 1
        if self.clock.monotonic() < self.back_at:
            self.clock.advance(10)
            raise self.error


@pytest.mark.parametrize("error", AWAY, ids=repr)
async def test_what_is_away_is_waited_for(error: Exception) -> None:
    clock, grave = FakeClock(), Handler(0)
    handler = Needy(error, clock, AWAY_S - 10)
    await handle(EVENT, handler, NO_TRACER, grave.bury, clock)
    assert handler.calls == (AWAY_S - 10) / 10 + 1
    assert grave.buried == []


async def test_what_is_away_for_too_long_is_not_waited_for() -> None:
    clock, grave = FakeClock(), Handler(0)
    handler = Needy(StoreUnavailable("away"), clock, AWAY_S * 10)
    await handle(EVENT, handler, NO_TRACER, grave.bury, clock)
    assert handler.calls == AWAY_S / 10
    assert grave.buried == [EVENT]


@pytest.mark.parametrize("error", [StoreError("WRONGTYPE"), RpcError(StatusCode.INTERNAL, "")], ids=repr)
async def test_an_answer_that_is_an_error_is_a_try(error: Exception) -> None:
    clock, grave = FakeClock(), Handler(0)
    handler = Needy(error, clock, AWAY_S)
    await handle(EVENT, handler, NO_TRACER, grave.bury, clock)
    assert handler.calls == MAX_TRIES
    assert grave.buried == [EVENT]


async def test_pauses_while_something_is_away_grow_to_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, grave = FakeClock(), Handler(0)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(handling, "RETRY_S", 0.1)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    await handle(EVENT, Needy(StoreUnavailable("away"), clock, 70), NO_TRACER, grave.bury, clock)
    assert pauses == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


async def test_cancelled_handler_is_no_failure() -> None:
    handler = Handler(0)
    begun = asyncio.Event()

    async def hang(event: Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(handle(EVENT, hang, NO_TRACER, handler.bury, FakeClock()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handler.buried == []


async def test_the_delay_is_from_publication_to_the_end_of_the_handler() -> None:
    clock, handler = FakeClock(), Handler(0)
    event = replace(EVENT, topic="delayed", published_at_ms=round(clock.wall() * 1000))
    clock.advance(0.2)

    async def takes_a_while(event: Event) -> None:
        clock.advance(0.2)

    await handle(event, takes_a_while, NO_TRACER, handler.bury, clock)
    buckets = [
        REGISTRY.get_sample_value("parley_events_delay_seconds_bucket", {"topic": "delayed", "le": le})
        for le in ("0.25", "0.5")
    ]
    assert buckets == [0, 1]
