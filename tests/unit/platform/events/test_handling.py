"""Handlers that fail, and what becomes of the event."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from parley.platform.clock import FakeClock
from parley.platform.events import handling
from parley.platform.events.api import MAX_TRIES, Event
from parley.platform.events.handling import handle
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
