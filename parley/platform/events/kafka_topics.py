"""Makes topics on Kafka, and says of those that are there how they differ from what is configured.

A topic that exists is left as it is. More partitions would send the events of a key to another one than those before, and
they would be handled out of order; fewer there cannot be. So a difference is told of, for people to decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from parley.platform.events.api import EventBusError
from parley.platform.events.brokers import Brokers
from parley.platform.events.topics import TopicRefused
from parley.platform.reasons import reason_of

_REQUEST_MS: Final = 8_000


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What became of one topic."""

    name: str
    made: bool
    partitions: int
    remark: str = ""
    """How it differs from what is configured, and what to do."""


async def ensure_topics(brokers: Brokers, wanted: Mapping[str, int], replication: int) -> list[TopicReport]:
    """Makes what is missing. ``wanted``: partitions by name; ``replication``: replicas of topics that are made.

    Two at once do no harm. Raises TopicRefused, and EventBusError while Kafka is away or has not enough brokers.
    """
    admin = AIOKafkaAdminClient(**brokers.options, request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        # All of them: to ask for one that is missing may make it, with the partitions of the brokers' choice.
        found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
        missing = [name for name in wanted if name not in found]
        if missing:
            reply = await admin.create_topics([NewTopic(name, wanted[name], replication) for name in missing])
            for name, code, *message in reply.topic_errors:
                _check(name, code, " ".join(filter(None, message)), replication)
    except (KafkaError, OSError, TimeoutError) as error:
        raise EventBusError(f"topics cannot be made on Kafka: {reason_of(error)}") from None
    finally:
        await admin.close()
    return [_report(name, wanted[name], replication, found.get(name)) for name in wanted]


def _check(name: str, code: int, message: str, replication: int) -> None:
    """Raises what a refusal to make a topic means."""
    error = for_code(code)
    if error in (NoError, TopicAlreadyExistsError):
        return
    if error is InvalidReplicationFactorError:
        raise EventBusError(
            f"Kafka has too few brokers for {replication} replicas of a topic: are all of them up? else lower "
            "platform.events.replication"
        )
    if error is TopicAuthorizationFailedError or not error.retriable:
        raise TopicRefused(
            f"Kafka does not let us make the topic {name} ({message or error.__name__}): allow it to platform.events."
            "kafka_username, or make the topic yourself"
        )
    raise EventBusError(f"the topic {name} cannot be made now: {message or error.__name__}")


def _report(name: str, partitions: int, replication: int, found: Sequence[Mapping[str, Any]] | None) -> TopicReport:
    if found is None:
        return TopicReport(name, True, partitions)
    remarks = []
    if len(found) < partitions:
        remarks.append(
            f"{partitions} partitions are configured; more are not added, as the order of what is on the way would be lost: "
            f"set platform.events.partitions to {len(found)}, or delete the topic while no service runs"
        )
    replicas = min((len(partition["replicas"]) for partition in found), default=replication)
    if replicas < replication:
        remarks.append(f"it has {replicas} of {replication} replicas: Kafka's kafka-reassign-partitions adds them")
    return TopicReport(name, False, len(found), "; ".join(remarks))
