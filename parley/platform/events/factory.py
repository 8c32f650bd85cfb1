"""The event bus that the configuration asks for."""

from __future__ import annotations

from parley.platform.clock import Clock
from parley.platform.config import ConfigError, EventsConfig
from parley.platform.events.api import EventBus
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import Tracer


def make_event_bus(config: EventsConfig, store: Store, clock: Clock, tracer: Tracer) -> EventBus:
    """Raises ConfigError when Kafka is chosen and no server is named."""
    if config.driver == "kafka":
        from parley.platform.events.kafka import KafkaBus

        if not config.kafka_servers:
            raise ConfigError(["platform.events.kafka_servers: name the brokers, as [kafka:9092]"])
        return KafkaBus(
            config.kafka_servers, clock, partitions=config.partitions, replication=config.replication, tracer=tracer
        )
    from parley.platform.events.redis_streams import RedisStreamsBus

    return RedisStreamsBus(store, clock, partitions=config.partitions, retention=config.retention, tracer=tracer)
