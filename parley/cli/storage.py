"""What ``parley init storage`` does: Redis and Kafka are there, all topics exist, the stored data has the right form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from parley.platform.config import ConfigError, PlatformConfig
from parley.platform.events.api import EventBusError
from parley.platform.events.topics import TOPICS, partitions_by_name
from parley.platform.schema import Say, Schema
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError

_PAUSE_S: Final = 1.0
"""Between two tries, and so between two lines that say what is waited for."""

ResultT = TypeVar("ResultT")


class NotThere(Exception):
    """What is needed did not come in time; the text says what, and why."""


@dataclass
class StorageReport:
    """What was found and made."""

    version: int = 0
    """Of the stored data."""
    topics: list[dict[str, Any]] = field(default_factory=list)
    """As `parley.platform.events.kafka_topics.TopicReport`; none with events on Redis, which makes them by itself."""
    remarks: list[str] = field(default_factory=list)
    """What a person should know."""


async def prepare(platform: PlatformConfig, timeout_s: float, say: Say) -> StorageReport:
    """Waits for what is configured, makes topics, migrates. ``timeout_s``: longest wait; a migration may take longer.

    Raises ConfigError (SchemaRefused among them), TopicRefused, and NotThere.
    """
    report = StorageReport()
    store = Store(platform.redis)
    deadline = asyncio.get_running_loop().time() + timeout_s
    try:
        aof = await _wait("Redis", lambda: _look_at_redis(store), deadline, say)
        if not aof:
            report.remarks.append("Redis does not append to a file (appendonly no): users could not be stored; turn it on")
        if platform.events.driver == "kafka":
            await _make_topics(platform, deadline, say, report)
        else:
            say(f"events are on Redis, which needs no topics made: {len(TOPICS)} in {platform.events.partitions} partitions")
        report.version = await _wait("Redis", lambda: Schema(store).migrate(say), deadline, say)
    finally:
        await store.close()
    return report


async def _make_topics(platform: PlatformConfig, deadline: float, say: Say, report: StorageReport) -> None:
    from parley.platform.events.brokers import Brokers
    from parley.platform.events.kafka_topics import TopicReport, ensure_topics

    events = platform.events
    brokers = Brokers.of(events)
    wanted = partitions_by_name(events.partitions)

    async def make() -> list[TopicReport]:
        await brokers.check()  # it says best why there is no Kafka
        return await ensure_topics(brokers, wanted, events.replication)

    topics = await _wait("Kafka", make, deadline, say)
    report.topics = [asdict(topic) for topic in topics]
    report.remarks += [f"the topic {topic.name} has {topic.partitions} partitions: {topic.remark}" for topic in topics
                       if topic.remark]  # fmt: skip
    made = sum(topic.made for topic in topics)
    say(f"Kafka has all {len(topics)} topics, {made} of them made now with {events.replication} replicas each")


async def _look_at_redis(store: Store) -> bool:
    """Whether it keeps what it is told; True also when it does not say. Raises StoreError."""
    await store.check()
    try:
        info = await store.execute("INFO", "persistence", key="parley")
    except StoreError:
        return True  # forbidden, as in some services that are rented
    return b"aof_enabled:0" not in info


async def _wait(what: str, work: Callable[[], Awaitable[ResultT]], deadline: float, say: Say) -> ResultT:
    """The result of what may have to be tried again and again. Raises NotThere when the time is up."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await work()
        except (StoreError, EventBusError) as error:
            if loop.time() >= deadline:
                raise NotThere(f"{what} did not come up in time: {error}") from None
            say(f"waiting for {what}: {error}")
        await asyncio.sleep(_PAUSE_S)


def require_shared_redis(platform: PlatformConfig) -> None:
    """Raises ConfigError when the store is the bundled one, which a process that runs owns and prepares by itself."""
    if not platform.redis.url and not platform.redis.sentinels:
        raise ConfigError(
            ["platform.redis.url: is empty, so `parley run` starts a Valkey of its own and prepares it; there is nothing to "
             "do here"]
        )  # fmt: skip
