"""Both event buses behind one way to make them, and handlers that remember."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from parley.platform.clock import SystemClock
from parley.platform.config import RedisConfig
from parley.platform.events.api import Event, EventBus
from parley.platform.events.brokers import Brokers
from parley.platform.events.kafka import KafkaBus
from parley.platform.events.redis_streams import RedisStreamsBus
from parley.platform.store.client import Store
from tests.support.waiting import eventually

Driver = Literal["redis", "kafka"]
PARTITIONS = 4


@dataclass
class Buses:
    """Makes buses on one server, and ends them."""

    driver: Driver
    address: str
    """The URL of Redis, or "host:port" of a broker."""
    made: list[Any] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)

    def __call__(self) -> EventBus:
        """A bus, as a process of its own would have it."""
        bus: EventBus
        if self.driver == "kafka":
            bus = KafkaBus(Brokers((self.address,)), SystemClock(), partitions=PARTITIONS)
        else:
            store = Store(RedisConfig(url=self.address))
            self.stores.append(store)
            bus = RedisStreamsBus(store, SystemClock(), partitions=PARTITIONS)
        self.made.append(bus)
        return bus

    async def stop(self) -> None:
        """Ends all of them."""
        made, self.made = self.made, []
        await asyncio.gather(*(bus.stop() for bus in made))
        for store in self.stores:
            await store.close()


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
    """Returns when the listeners were told so many events together."""

    async def look() -> bool:
        return sum(len(listener.events) for listener in listeners) >= count

    await eventually(look, timeout=30, what=f"{count} events, have {[len(x.events) for x in listeners]}")
