"""How many events wait for a bus that is away, as the metrics tell it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from prometheus_client import REGISTRY, Counter

from parley.platform.events.api import EventBus, EventBusError
from parley.platform.events.publisher import FactPublisher
from parley.proto.events.v1.call_pb2 import CallChanged

LOST = Counter("parley_test_publisher_lost_total", "Events given up", registry=None)


class Bus:
    """Takes events once it is there."""

    away = True

    async def publish(self, topic: str, key: str, message: Any, *, traceparent: str = "") -> None:
        if self.away:
            raise EventBusError("away")


def waiting() -> float:
    value = REGISTRY.get_sample_value("parley_events_waiting")
    assert value is not None
    return value


async def test_what_waits_is_told_until_it_is_published() -> None:
    bus, before = Bus(), waiting()
    one, other = (FactPublisher(cast(EventBus, bus), LOST, retry_s=0.01) for _ in range(2))
    for publisher, count in ((one, 3), (other, 2)):
        for number in range(count):
            publisher.publish("t", "k", CallChanged(at_ms=number))
    assert waiting() == before + 5
    tasks = [asyncio.ensure_future(publisher.run()) for publisher in (one, other)]
    await asyncio.sleep(0)
    assert waiting() == before + 5
    bus.away = False
    await asyncio.gather(one.flush(5), other.flush(5))
    assert waiting() == before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
