"""The event bus on Kafka (aiokafka).

Keys choose partitions, so the order of a key holds. The producer waits for all in-sync replicas and does not duplicate
what it sends again. Partitions are handled side by side, each in order; members of a group commit what they handled, and
finish the event at hand before a partition goes to another member, unless it takes too long. A subscription without a
group reads every partition from its end. Topics are created with the configured partitions when they are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from google.protobuf.message import Message as ProtoMessage

from parley.platform.clock import Clock
from parley.platform.events.api import DEAD_SUFFIX, HAND_OVER_S, PUBLISHED, Event, EventBusError, Handler
from parley.platform.events.backlog import Backlog
from parley.platform.events.brokers import Brokers
from parley.platform.events.codec import decode, headers_of
from parley.platform.events.handling import handle
from parley.platform.telemetry.repeats import Repeats
from parley.platform.telemetry.tracing import NO_TRACER, Tracer

logger = logging.getLogger(__name__)

_SEND_TIMEOUT_S: Final = 5.0
_STOP_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.5
_POLL_MS: Final = 500
_FETCH_WAIT_MS: Final = 500
"""For which a broker holds a fetch while there is nothing; what comes meanwhile is sent at once."""
_CHUNK: Final = 64
"""Most events of a partition that are handled between two commits."""
_MOST_WAITING: Final = 2_000
"""Most events that wait for their handlers before no more are fetched."""
_SESSION_MS: Final = 6_000


class KafkaBus:
    """See `parley.platform.events.api.EventBus`."""

    def __init__(
        self,
        brokers: Brokers,
        clock: Clock,
        *,
        partitions: int = 8,
        replication: int = 1,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """``replication`` of topics created."""
        self.brokers = brokers
        self.tracer = tracer
        self.clock = clock
        self._partitions = partitions
        self._replication = replication
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._creating = asyncio.Lock()
        self._topics: set[str] = set()
        self._subscriptions: list[_Subscription] = []

    async def start(self) -> None:
        """Nothing to wait for: producer and consumers connect in the background."""

    async def check(self) -> None:
        """See `parley.platform.events.api.EventBus`."""
        await self.brokers.check()

    async def stop(self) -> None:
        """Ends subscriptions and the producer."""
        subscriptions, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT_S)

    async def publish(self, topic: str, key: str, message: ProtoMessage, *, traceparent: str = "") -> None:
        """Sends an event and waits for the broker. Raises EventBusError."""
        span = self.tracer.start(
            f"events.publish {topic}", kind="producer", parent=traceparent or None,
            attributes={"messaging.destination": topic, "messaging.key": key,
                        "sip.call_id": getattr(message, "call_id", "")},
        )  # fmt: skip
        headers = headers_of(message, span.traceparent or traceparent, round(self.clock.wall() * 1000))
        encoded = [(name, value.encode()) for name, value in headers.items()]
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self.ensure_topic(topic)
                producer = await self._get_producer()
                await producer.send_and_wait(topic, message.SerializeToString(), key=key.encode(), headers=encoded)
        except (KafkaError, OSError, TimeoutError) as error:
            PUBLISHED.labels(topic, "failed").inc()
            span.end("error")
            await self._after_failure(topic, error)
            raise EventBusError(f"the event could not be published: {error or 'no answer in time'}") from None
        PUBLISHED.labels(topic, "ok").inc()
        span.end()

    async def _after_failure(self, topic: str, error: Exception) -> None:
        """Forgets what a failure shows to be wrong: a topic that is gone, a producer that cannot go on."""
        if isinstance(error, UnknownTopicOrPartitionError):
            self._topics.discard(topic)
        if isinstance(error, KafkaError) and not error.retriable:
            producer, self._producer = self._producer, None
            if producer is not None:
                with contextlib.suppress(KafkaError, TimeoutError):
                    await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT_S)

    def subscribe(
        self, topic: str, message_type: type[ProtoMessage], handler: Handler, *, group: str | None = None
    ) -> _Subscription:
        """Begins in the background."""
        subscription = _Subscription(self, topic, message_type, handler, group)
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: object) -> None:
        """A subscription ended."""
        self._subscriptions = [known for known in self._subscriptions if known is not subscription]

    async def bury(self, event: Event) -> None:
        """Puts an event that cannot be handled aside."""
        await self.publish(event.topic + DEAD_SUFFIX, event.key, event.message, traceparent=event.traceparent)

    async def ensure_topic(self, topic: str) -> None:
        """Creates a topic unless it is there. Raises KafkaError."""
        if topic in self._topics:
            return
        async with self._creating:
            if topic not in self._topics:
                await self._create_topic(topic)
                self._topics.add(topic)

    async def _create_topic(self, topic: str) -> None:
        admin = AIOKafkaAdminClient(**self.brokers.options, request_timeout_ms=4000)
        try:
            await admin.start()
            wanted = NewTopic(topic, num_partitions=self._partitions, replication_factor=self._replication)
            reply = await admin.create_topics([wanted])
        finally:
            await admin.close()
        for _, code, *message in reply.topic_errors:
            error = for_code(code)
            if error not in (NoError, TopicAlreadyExistsError):
                raise error(f"topic {topic} cannot be created: {' '.join(filter(None, message))}")

    async def _get_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self.brokers.options, acks="all", enable_idempotence=True, linger_ms=2,
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
        self._positions: dict[TopicPartition, int] = {}
        """Where a reader without a group stands."""
        self._began = asyncio.Event()
        self._backlog = Backlog(topic, group)
        self._repeats = Repeats()
        self._task = asyncio.get_running_loop().create_task(self._forever(), name=f"events {topic}")

    async def ready(self) -> None:
        """See `parley.platform.events.api.Subscription`."""
        await self._began.wait()

    async def stop(self) -> None:
        """Ends the consumer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._backlog.close()
        self._bus.forget(self)

    async def _forever(self) -> None:
        while True:
            try:
                await self._bus.ensure_topic(self._topic)
                await self._consume()
            except (KafkaError, OSError, TimeoutError, EventBusError) as error:
                if self._repeats.is_due(str(error)):
                    logger.info("events of %s cannot be read: %s", self._topic, error)
            except Exception:
                logger.exception("reading events of %s failed", self._topic)
            self._backlog.cannot_read()
            await asyncio.sleep(_RETRY_S)

    async def _consume(self) -> None:
        """Reads until something breaks."""
        consumer = AIOKafkaConsumer(
            **self._bus.brokers.options, group_id=self._group, enable_auto_commit=False,
            auto_offset_reset="earliest" if self._group else "latest", session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=1000, request_timeout_ms=8000, retry_backoff_ms=100, fetch_max_wait_ms=_FETCH_WAIT_MS,
            metadata_max_age_ms=5000,
        )  # fmt: skip
        workers = _Workers(self._handle, self._commit_with(consumer))
        try:
            if self._group:
                consumer.subscribe([self._topic], listener=_HandOver(workers))
            await consumer.start()
            if not self._group:
                await self._assign(consumer)
            self._began.set()
            self._repeats.over()
            while True:
                await workers.room()
                for partition, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                    workers.put(partition, records)
                self._backlog.events = workers.waiting + await _not_fetched(consumer)
        finally:
            await workers.stop()
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(consumer.stop(), _STOP_TIMEOUT_S)

    def _commit_with(self, consumer: AIOKafkaConsumer) -> Callable[[TopicPartition, int], Awaitable[None]]:
        async def commit(partition: TopicPartition, offset: int) -> None:
            if self._group:
                await consumer.commit({partition: offset})
            else:
                self._positions[partition] = offset

        return commit

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        numbers = consumer.partitions_for_topic(self._topic) or set()
        while not numbers:
            await asyncio.sleep(0.1)
            consumer._client.add_topic(self._topic)
            await consumer._client.force_metadata_update()
            numbers = consumer.partitions_for_topic(self._topic) or set()
        partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            self._positions.setdefault(partition, end)
            consumer.seek(partition, self._positions[partition])

    async def _handle(self, record: Any) -> None:
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
        key = (record.key or b"").decode("utf-8", "replace")
        event = decode(self._topic, key, record.value or b"", headers, self._message_type)
        if event is not None:
            await handle(event, self._handler, self._bus.tracer, self._bus.bury, self._bus.clock)


async def _not_fetched(consumer: AIOKafkaConsumer) -> int:
    """Events of the partitions at hand that the broker has told of and not sent yet; asks nobody."""
    behind = 0
    with contextlib.suppress(IllegalStateError):  # a partition went to another member
        for partition in consumer.assignment():
            end = consumer.highwater(partition)
            if end is not None:  # there was a reply, so there is a position
                behind += max(0, end - await consumer.position(partition))
    return behind


class _Workers:
    """Handles the records of each partition in order, and the partitions side by side."""

    def __init__(
        self, handle_record: Callable[[Any], Awaitable[None]], commit: Callable[[TopicPartition, int], Awaitable[None]],
        *, hand_over_s: float = HAND_OVER_S,
    ) -> None:  # fmt: skip
        self._hand_over_s = hand_over_s
        self._handle = handle_record
        self._commit = commit
        self._queues: dict[TopicPartition, deque[Any]] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._waiting = 0
        self._moved = asyncio.Event()
        self._problem: Exception | None = None

    def put(self, partition: TopicPartition, records: Sequence[Any]) -> None:
        """Takes records that follow those it has."""
        queue = self._queues.setdefault(partition, deque())
        queue.extend(records)
        self._waiting += len(records)
        if partition not in self._tasks:
            self._tasks[partition] = asyncio.get_running_loop().create_task(self._work(partition, queue))

    @property
    def waiting(self) -> int:
        """Records that are not handled, those at hand among them."""
        return self._waiting + len(self._tasks)

    async def room(self) -> None:
        """Returns when more may be put. Raises what stopped a partition, if one was."""
        while self._waiting >= _MOST_WAITING and self._problem is None:
            self._moved.clear()
            await self._moved.wait()
        if self._problem is not None:
            raise self._problem

    async def leave(self, partitions: Collection[TopicPartition]) -> None:
        """Drops what waits of partitions and returns when the events at hand are handled and committed.

        One that takes too long is left to the next owner: the group waits for its members, and drops one that is late.
        """
        for partition in partitions:
            queue = self._queues.pop(partition, None)
            if queue is not None:
                self._waiting -= len(queue)
                queue.clear()
        tasks = [self._tasks[partition] for partition in partitions if partition in self._tasks]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._hand_over_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Ends at once; what is not committed is handled again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, partition: TopicPartition, queue: deque[Any]) -> None:
        try:
            while queue:
                offset = -1
                for _ in range(_CHUNK):
                    if not queue:
                        break
                    record = queue.popleft()
                    self._waiting -= 1
                    await self._handle(record)
                    offset = record.offset + 1
                await self._commit(partition, offset)
                self._moved.set()
        except Exception as error:
            self._problem = error
        finally:
            del self._tasks[partition]
            self._moved.set()


class _HandOver(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Finishes the events at hand before their partitions go to another member."""

    def __init__(self, workers: _Workers) -> None:
        self._workers = workers

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """See aiokafka."""
        await self._workers.leave(revoked)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """See aiokafka; fetching begins at what was committed."""
