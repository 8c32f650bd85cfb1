"""Calling a handler for one event: spans, tries, and giving up.

What fails because a store, a service or the bus is away is tried until that is back, for a while; whoever hands the
partition over meanwhile cancels the wait, and the event is handled again by the next owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from grpc import StatusCode
from prometheus_client import Histogram

from parley.platform.clock import Clock
from parley.platform.events.api import AWAY_S, HANDLED, MAX_TRIES, Event, EventBusError, Handler
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreUnavailable
from parley.platform.telemetry.tracing import Tracer

logger = logging.getLogger(__name__)

RETRY_S = 0.1
_MOST_PAUSE_S: Final = 2.0
_AWAY_CODES: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED})

_DELAY = Histogram(
    "parley_events_delay_seconds", "Time from the publication of an event until it is handled", ["topic"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)  # fmt: skip


async def handle(
    event: Event, handler: Handler, tracer: Tracer, bury: Callable[[Event], Awaitable[None]], clock: Clock
) -> None:
    """Returns when the event is dealt with: handled, or buried after it failed too often or waited too long."""
    begun = clock.monotonic()
    tries = waits = 0
    while tries < MAX_TRIES:
        try:
            await _try(event, handler, tracer)
        except Exception as error:
            HANDLED.labels(event.topic, "failed").inc()
            if is_away(error):  # the event is not to blame, so this is no try of its own
                if clock.monotonic() - begun >= AWAY_S:
                    logger.error("an event of %s with key %s is given up: %s", event.topic, event.key, error)
                    break
                if not waits:
                    logger.warning("an event of %s with key %s waits: %s", event.topic, event.key, error)
                waits += 1
                await asyncio.sleep(min(RETRY_S * 2 ** min(waits, 8), _MOST_PAUSE_S))
            else:
                tries += 1
                logger.exception("an event of %s with key %s failed, try %d", event.topic, event.key, tries)
                await asyncio.sleep(RETRY_S * 2**tries)
            continue
        HANDLED.labels(event.topic, "ok").inc()
        if event.published_at_ms:
            _DELAY.labels(event.topic).observe(max(0.0, clock.wall() - event.published_at_ms / 1000))
        return
    HANDLED.labels(event.topic, "dead").inc()
    await bury(event)


def is_away(error: Exception) -> bool:
    """Whether a handler failed only because something that it needs does not serve now."""
    if isinstance(error, RpcError):
        return error.code in _AWAY_CODES
    return isinstance(error, (StoreUnavailable, EventBusError))


async def _try(event: Event, handler: Handler, tracer: Tracer) -> None:
    links = (event.traceparent,) if event.traceparent else ()
    attributes = {"messaging.destination": event.topic, "messaging.key": event.key}
    span = tracer.start(f"events.consume {event.topic}", kind="consumer", parent="", attributes=attributes, links=links)
    call_id = getattr(event.message, "call_id", "")
    if call_id:
        span.set("sip.call_id", call_id)
    with span:
        await handler(event)
