"""Topics on a real Kafka: made once, left alone afterwards, and differences told of."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from parley.platform.events.api import EventBusError
from parley.platform.events.brokers import Brokers
from parley.platform.events.kafka_topics import ensure_topics
from parley.platform.events.topics import TopicRefused
from tests.support.kafka import Kafka
from tests.support.ports import free_port

pytestmark = pytest.mark.kafka


@pytest.fixture
def brokers(kafka: Kafka) -> Brokers:
    return Brokers(tuple(kafka.servers))


async def partitions(brokers: Brokers) -> dict[str, int]:
    """How many each topic has."""
    admin = AIOKafkaAdminClient(**brokers.options)
    try:
        await admin.start()
        found: list[dict[str, Any]] = await admin.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in found}
    finally:
        await admin.close()


async def test_topics_are_made_with_their_partitions_and_only_once(brokers: Brokers) -> None:
    one, other = f"t.{token_hex(4)}", f"t.{token_hex(4)}.dead"
    reports = await ensure_topics(brokers, {one: 5, other: 1}, 1)
    assert [(report.name, report.made, report.partitions, report.remark) for report in reports] == [
        (one, True, 5, ""), (other, True, 1, ""),
    ]  # fmt: skip
    found = await partitions(brokers)
    assert (found[one], found[other]) == (5, 1)
    again = await ensure_topics(brokers, {one: 5, other: 1}, 1)
    assert [(report.made, report.remark) for report in again] == [(False, ""), (False, "")]


async def test_a_topic_with_fewer_partitions_keeps_them_and_is_told_of(brokers: Brokers) -> None:
    name = f"t.{token_hex(4)}"
    await ensure_topics(brokers, {name: 2}, 1)
    (report,) = await ensure_topics(brokers, {name: 8}, 3)
    assert (report.made, report.partitions) == (False, 2)
    assert "8 partitions are configured; more are not added" in report.remark
    assert "set platform.events.partitions to 2" in report.remark
    assert "it has 1 of 3 replicas" in report.remark
    assert (await partitions(brokers))[name] == 2
    (fewer,) = await ensure_topics(brokers, {name: 1}, 1)
    assert (fewer.partitions, fewer.remark) == (2, ""), "more than configured is no harm"


async def test_too_few_brokers_may_be_a_matter_of_time(brokers: Brokers) -> None:
    with pytest.raises(EventBusError, match=r"too few brokers for 3 replicas.*lower platform\.events\.replication"):
        await ensure_topics(brokers, {f"t.{token_hex(4)}": 1}, 3)


async def test_what_kafka_never_allows_is_refused(brokers: Brokers) -> None:
    with pytest.raises(TopicRefused, match="does not let us make the topic a topic"):
        await ensure_topics(brokers, {"a topic": 1}, 1)


async def test_a_kafka_that_is_away(kafka: Kafka) -> None:
    with pytest.raises(EventBusError, match="topics cannot be made on Kafka: "):
        await ensure_topics(Brokers((f"127.0.0.1:{free_port()}",)), {"t": 1}, 1)


async def test_one_that_another_makes_meanwhile_is_taken_as_it_is(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"t.{token_hex(4)}"
    create = AIOKafkaAdminClient.create_topics

    async def late(self: AIOKafkaAdminClient, topics: list[NewTopic]) -> Any:
        await create(self, topics)
        return await create(self, topics)

    monkeypatch.setattr(AIOKafkaAdminClient, "create_topics", late)
    (report,) = await ensure_topics(brokers, {name: 3}, 1)
    assert (report.name, report.partitions) == (name, 3)
