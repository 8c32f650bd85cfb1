"""Facts that wait for the event bus: sent in order, kept while it is away, counted when they had to be given up."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from weakref import WeakSet

from google.protobuf.message import Message as ProtoMessage
from prometheus_client import Counter, Gauge

from parley.platform.events.api import EventBus, EventBusError

logger = logging.getLogger(__name__)

_publishers: WeakSet[FactPublisher] = WeakSet()
_WAITING = Gauge("parley_events_waiting", "Events that wait in this process for an event bus that is away")
_WAITING.set_function(lambda: sum(publisher.waiting for publisher in list(_publishers)))


class FactPublisher:
    """Sends events in order; while the event bus is away they wait here, the oldest given up first when full."""

    def __init__(self, bus: EventBus, lost: Counter, *, capacity: int = 10_000, retry_s: float = 1.0) -> None:
        """``lost``: counts what is given up; ``capacity``: events that may wait; ``retry_s``: seconds between tries."""
        self._bus = bus
        self._lost = lost
        self._waiting: deque[tuple[str, str, ProtoMessage, str]] = deque()
        self._capacity = capacity
        self._retry_s = retry_s
        self._wake = asyncio.Event()
        _publishers.add(self)

    def publish(self, topic: str, key: str, message: ProtoMessage, traceparent: str = "") -> None:
        """Queues an event; never blocks and never fails."""
        if len(self._waiting) >= self._capacity:
            self._waiting.popleft()
            self._lost.inc()
        self._waiting.append((topic, key, message, traceparent))
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Events not yet taken by the bus."""
        return len(self._waiting)

    async def run(self) -> None:
        """Publishes until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                item = self._waiting[0]
                topic, key, message, traceparent = item
                try:
                    await self._bus.publish(topic, key, message, traceparent=traceparent)
                except EventBusError as error:
                    logger.warning("event bus away, %d events wait: %s", len(self._waiting), error)
                    await asyncio.sleep(self._retry_s)
                    continue
                if self._waiting and self._waiting[0] is item:
                    self._waiting.popleft()

    async def flush(self, timeout: float) -> None:
        """Waits until all is published, at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self._waiting:
                    self._wake.set()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            logger.warning("%d events were not published before stop", len(self._waiting))
