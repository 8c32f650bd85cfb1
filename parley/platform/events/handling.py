"""Calling a handler for one event: spans, tries, and giving up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import Histogram

from parley.platform.clock import Clock
from parley.platform.events.api import HANDLED, MAX_TRIES, Event, Handler
from parley.platform.telemetry.tracing import Tracer

logger = logging.getLogger(__name__)

RETRY_S = 0.1

_DELAY = Histogram(
    "parley_events_delay_seconds", "Time from the publication of an event until it is handled", ["topic"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)  # fmt: skip


async def handle(
    event: Event, handler: Handler, tracer: Tracer, bury: Callable[[Event], Awaitable[None]], clock: Clock
) -> None:
    """Returns when the event is dealt with: handled, or buried after it failed too often."""
    links = (event.traceparent,) if event.traceparent else ()
    attributes = {"messaging.destination": event.topic, "messaging.key": event.key}
    for attempt in range(1, MAX_TRIES + 1):
        span = tracer.start(f"events.consume {event.topic}", kind="consumer", parent="", attributes=attributes, links=links)
        call_id = getattr(event.message, "call_id", "")
        if call_id:
            span.set("sip.call_id", call_id)
        try:
            with span:
                await handler(event)
        except Exception:
            HANDLED.labels(event.topic, "failed").inc()
            logger.exception("an event of %s with key %s failed, try %d", event.topic, event.key, attempt)
            await asyncio.sleep(RETRY_S * 2**attempt)
            continue
        HANDLED.labels(event.topic, "ok").inc()
        if event.published_at_ms:
            _DELAY.labels(event.topic).observe(max(0.0, clock.wall() - event.published_at_ms / 1000))
        return
    HANDLED.labels(event.topic, "dead").inc()
    await bury(event)
