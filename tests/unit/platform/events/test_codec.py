"""How an event travels."""

from __future__ import annotations

import pytest

from parley.platform.events.api import HANDLED
from parley.platform.events.codec import decode, headers_of, partition_of
from parley.proto.events.v1.call_pb2 import CallChanged
from parley.proto.events.v1.user_pb2 import UserChanged

TRACEPARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"


def undecodable(topic: str) -> float:
    """How many were counted."""
    value: float = HANDLED.labels(topic, "undecodable")._value.get()
    return value


def test_event_is_read_as_it_was_written() -> None:
    message = CallChanged(call_id="c", at_ms=7)
    headers = headers_of(message, TRACEPARENT, 1_750_000_000_123)
    event = decode("t", "key", message.SerializeToString(), headers, CallChanged)
    assert event is not None
    assert (event.topic, event.key, event.message, event.traceparent) == ("t", "key", message, TRACEPARENT)
    assert event.published_at_ms == 1_750_000_000_123


def test_no_trace_no_header() -> None:
    assert headers_of(CallChanged(), "", 5) == {"type": "parley.events.v1.CallChanged", "at": "5"}


@pytest.mark.parametrize("at", ["", "yesterday", "-1"])
def test_time_that_is_none_is_unknown(at: str) -> None:
    event = decode("t", "k", b"", {"at": at}, CallChanged)
    assert event is not None
    assert event.published_at_ms == 0


def test_bytes_that_are_no_message_are_counted_and_passed_over() -> None:
    assert decode("broken", "k", b"\xff\xff\xff", {}, CallChanged) is None
    assert undecodable("broken") == 1


def test_message_of_another_type_is_counted_and_passed_over() -> None:
    message = UserChanged(address="a@example.test")
    assert decode("other", "k", message.SerializeToString(), headers_of(message, "", 0), CallChanged) is None
    assert undecodable("other") == 1


def test_partition_of_a_key_is_the_same_everywhere() -> None:
    # Fixed values: processes of different versions must agree.
    assert [partition_of(key, 8) for key in ("alice@example.test", "bob@example.test", "käse", "")] == [1, 6, 7, 0]
