"""The list of topics, against what the services publish and read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pool import Default

import parley.proto.events.v1.call_pb2
import parley.proto.events.v1.conference_pb2
import parley.proto.events.v1.directory_pb2
import parley.proto.events.v1.edge_pb2
import parley.proto.events.v1.message_pb2
import parley.proto.events.v1.presence_pb2
import parley.proto.events.v1.registration_pb2
import parley.proto.events.v1.user_pb2  # noqa: F401 - so that their messages are known
from parley.platform.events.topics import TOPICS, partitions_by_name

ROOT = Path(__file__).parents[4]
NAMES = {topic.name for topic in TOPICS}
OTHERS = {"parley.platform", "parley.services", "parley.sections", "parley.files"}
"""A package of scripts, the group of entry points, and an attribute of spans."""


def texts_like_topics() -> Iterator[tuple[str, str]]:
    """Every string of a service, and of the command, that could be the name of a topic; and its file."""
    for folder in ("services", "parley/cli", "parley/platform"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name == "topics.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                text = node.value if isinstance(node, ast.Constant) else None
                if isinstance(text, str) and re.fullmatch(r"parley\.[a-z_-]+", text):
                    yield text, str(path.relative_to(ROOT))


def test_every_topic_that_is_used_is_in_the_list() -> None:
    unknown = {(text, where) for text, where in texts_like_topics() if text not in NAMES | OTHERS}
    assert unknown == set()


def test_every_topic_of_the_list_is_used_by_its_publisher() -> None:
    used = {(text, where.split("/")[1]) for text, where in texts_like_topics() if where.startswith("services/")}
    for topic in TOPICS:
        assert (topic.name, topic.published_by) in used


def test_messages_exist_and_names_are_unique() -> None:
    for topic in TOPICS:
        assert Default().FindMessageTypeByName(topic.message)
    assert len(NAMES) == len(TOPICS)


def test_topics_of_events_that_could_not_be_handled_have_one_partition() -> None:
    wanted = partitions_by_name(8)
    assert wanted["parley.calls"] == 8
    assert wanted["parley.calls.dead"] == 1
    assert len(wanted) == 2 * len(TOPICS)
