"""The event bus that the configuration asks for."""

from __future__ import annotations

from parley.platform.clock import Clock
from parley.platform.config import EventsConfig
from parley.platform.events.api import EventBus
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import Tracer


def make_event_bus(config: EventsConfig, store: Store, clock: Clock, tracer: Tracer) -> EventBus:
    """Raises ConfigError when Kafka is chosen and no server is named, or a certificate is wrong."""
    if config.driver == "kafka":
        from parley.platform.events.brokers import Brokers
        from parley.platform.events.kafka import KafkaBus

        return KafkaBus(
            Brokers.of(config), clock, partitions=config.partitions, replication=config.replication, tracer=tracer
        )
    from parley.platform.events.redis_streams import RedisStreamsBus

    return RedisStreamsBus(store, clock, partitions=config.partitions, retention=config.retention, tracer=tracer)
