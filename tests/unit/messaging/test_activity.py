"""Typing, as Communicator says it, and how often it is worth telling a phone."""

from __future__ import annotations

import pytest

from parley.messaging.activity import build_activity, parse_activity
from parley.messaging.composing import REFRESH_S, TypingFilter
from parley.messaging.errors import MessagingError


@pytest.mark.parametrize("typing", [True, False])
def test_round_trip(typing: bool) -> None:
    assert parse_activity(build_activity(typing=typing)) is typing


def test_as_communicator_writes_it() -> None:
    assert parse_activity(
        b'<?xml version="1.0"?>\r\n<KeyboardActivity>\r\n  <status status="type" />\r\n</KeyboardActivity>'
    )


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"<KeyboardActivity/>", b'<Other><status status="type"/></Other>',
        b'<KeyboardActivity><status status="sleep"/></KeyboardActivity>', b"<KeyboardActivity><status/></KeyboardActivity>",
        b'<!DOCTYPE a><KeyboardActivity><status status="type"/></KeyboardActivity>',
        b'<KeyboardActivity><status status="type"/>' + b" " * 5000 + b"</KeyboardActivity>",
    ],
)  # fmt: skip
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(MessagingError) as caught:
        parse_activity(body)
    assert caught.value.status == 400


def test_a_phone_is_told_when_it_begins_and_ends_and_once_in_a_while() -> None:
    told = TypingFilter()
    assert told.tell("a", typing=False, now=0.0) is None
    assert told.tell("a", typing=True, now=1.0) == REFRESH_S
    assert told.tell("a", typing=True, now=6.0) is None
    assert told.tell("b", typing=True, now=6.0) == REFRESH_S
    assert told.tell("a", typing=True, now=56.0) == REFRESH_S
    assert told.tell("a", typing=False, now=57.0) == REFRESH_S
    assert told.tell("a", typing=False, now=58.0) is None


def test_a_message_ends_it() -> None:
    told = TypingFilter()
    told.tell("a", typing=True, now=1.0)
    told.said("a")
    assert told.tell("a", typing=False, now=2.0) is None
    assert told.tell("a", typing=True, now=3.0) == REFRESH_S


def test_conversations_silent_longest_are_forgotten() -> None:
    told = TypingFilter()
    for number in range(10_002):
        told.tell(str(number), typing=True, now=float(number))
    assert told.tell("0", typing=False, now=20_000.0) is None
    assert told.tell("10001", typing=False, now=20_000.0) == REFRESH_S
