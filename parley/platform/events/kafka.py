"""The event bus on Kafka (aiokafka).

Keys choose partitions, so the order of a key holds. The producer waits for all in-sync replicas and does not duplicate
what it sends again. Members of a group commit after the handler; a subscription without a group reads every partition from
its end. Topics are created with the configured partitions when they are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError
from google.protobuf.message import Message as ProtoMessage

from parley.platform.clock import Clock
from parley.platform.events.api import DEAD_SUFFIX, PUBLISHED, Event, EventBusError, Handler
from parley.platform.events.codec import decode, headers_of
from parley.platform.events.handling import handle
from parley.platform.telemetry.tracing import NO_TRACER, Tracer

logger = logging.getLogger(__name__)

_SEND_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.5
_SESSION_MS: Final = 6_000


class KafkaBus:
    """See `parley.platform.events.api.EventBus`."""

    def __init__(
        self,
        servers: Sequence[str],
        clock: Clock,
        *,
        partitions: int = 8,
        replication: int = 1,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """``servers``: "host:port"; ``replication`` of topics created."""
        self.servers = list(servers)
        self.tracer = tracer
        self._clock = clock
        self._partitions = partitions
        self._replication = replication
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._topics: set[str] = set()
        self._subscriptions: list[_Subscription] = []

    async def start(self) -> None:
        """Nothing to wait for: producer and consumers connect in the background."""

    async def stop(self) -> None:
        """Ends subscriptions and the producer."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.stop()
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), _SEND_TIMEOUT_S)

    async def publish(self, topic: str, key: str, message: ProtoMessage, *, traceparent: str = "") -> None:
        """Sends an event and waits for the broker. Raises EventBusError."""
        span = self.tracer.start(
            f"events.publish {topic}", kind="producer", parent=traceparent or None,
            attributes={"messaging.destination": topic, "messaging.key": key,
                        "sip.call_id": getattr(message, "call_id", "")},
        )  # fmt: skip
        headers = headers_of(message, span.traceparent or traceparent, round(self._clock.wall() * 1000))
        encoded = [(name, value.encode()) for name, value in headers.items()]
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self.ensure_topic(topic)
                producer = await self._get_producer()
                await producer.send_and_wait(topic, message.SerializeToString(), key=key.encode(), headers=encoded)
        except (KafkaError, OSError, TimeoutError) as error:
            PUBLISHED.labels(topic, "failed").inc()
            span.end("error")
            raise EventBusError(f"the event could not be published: {error or 'no answer in time'}") from None
        PUBLISHED.labels(topic, "ok").inc()
        span.end()

    def subscribe(
        self, topic: str, message_type: type[ProtoMessage], handler: Handler, *, group: str | None = None
    ) -> _Subscription:
        """Begins in the background."""
        subscription = _Subscription(self, topic, message_type, handler, group)
        self._subscriptions.append(subscription)
        return subscription

    async def bury(self, event: Event) -> None:
        """Puts an event that cannot be handled aside."""
        await self.publish(event.topic + DEAD_SUFFIX, event.key, event.message, traceparent=event.traceparent)

    async def ensure_topic(self, topic: str) -> None:
        """Creates a topic unless it is there. Raises KafkaError."""
        if topic in self._topics:
            return
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers, request_timeout_ms=4000)
        try:
            await admin.start()
            with contextlib.suppress(TopicAlreadyExistsError):
                await admin.create_topics(
                    [NewTopic(topic, num_partitions=self._partitions, replication_factor=self._replication)]
                )
        finally:
            await admin.close()
        self._topics.add(topic)

    async def _get_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self.servers, acks="all", enable_idempotence=True, linger_ms=2,
                    request_timeout_ms=4000, retry_backoff_ms=100,
                )  # fmt: skip
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


class _Subscription:
    """A consumer that comes back by itself."""

    def __init__(
        self, bus: KafkaBus, topic: str, message_type: type[ProtoMessage], handler: Handler, group: str | None
    ) -> None:
        self._bus = bus
        self._topic = topic
        self._message_type = message_type
        self._handler = handler
        self._group = group
        self._task = asyncio.get_running_loop().create_task(self._forever(), name=f"events {topic}")

    async def stop(self) -> None:
        """Ends the consumer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _forever(self) -> None:
        positions: dict[TopicPartition, int] = {}
        while True:
            try:
                await self._bus.ensure_topic(self._topic)
                await self._consume(positions)
            except (KafkaError, OSError, TimeoutError, EventBusError) as error:
                logger.info("events of %s cannot be read: %s", self._topic, error)
            await asyncio.sleep(_RETRY_S)

    async def _consume(self, positions: dict[TopicPartition, int]) -> None:
        """Reads until something breaks. ``positions`` keeps where a reader without a group stands."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bus.servers, group_id=self._group, enable_auto_commit=False,
            auto_offset_reset="earliest" if self._group else "latest", session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=1000, request_timeout_ms=8000, retry_backoff_ms=100, fetch_max_wait_ms=100,
            metadata_max_age_ms=5000,
        )  # fmt: skip
        if self._group:
            consumer.subscribe([self._topic])
        await consumer.start()
        try:
            if not self._group:
                await self._assign(consumer, positions)
            async for record in consumer:
                await self._handle(record)
                partition = TopicPartition(record.topic, record.partition)
                if self._group:
                    await consumer.commit({partition: record.offset + 1})
                else:
                    positions[partition] = record.offset + 1
        finally:
            with contextlib.suppress(KafkaError):
                await asyncio.shield(consumer.stop())

    async def _assign(self, consumer: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
        numbers = consumer.partitions_for_topic(self._topic) or set()
        while not numbers:
            await asyncio.sleep(0.1)
            await consumer._client.force_metadata_update()
            consumer._client.add_topic(self._topic)
            numbers = consumer.partitions_for_topic(self._topic) or set()
        partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            positions.setdefault(partition, end)
            consumer.seek(partition, positions[partition])

    async def _handle(self, record: Any) -> None:
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
        key = (record.key or b"").decode("utf-8", "replace")
        event = decode(self._topic, key, record.value or b"", headers, self._message_type)
        if event is not None:
            await handle(event, self._handler, self._bus.tracer, self._bus.bury)
