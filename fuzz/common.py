"""What the targets share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from parley.sip.errors import SipParseError

Value = TypeVar("Value")


def text_of(data: bytes) -> str:
    """The text of a head, as the parser of messages decodes it."""
    return data.decode("utf-8", "surrogateescape")


def read(parser: Callable[[], Value]) -> Value | None:
    """What a parser gives; None when it refuses with the only error it may raise, and with a status that can be sent."""
    try:
        return parser()
    except SipParseError as error:
        assert 400 <= error.status <= 699, error
        assert error.reason
        assert "\r" not in error.reason and "\n" not in error.reason, error
        return None


def same(value: object, again: object) -> None:
    """Both must be equal, to themselves too, and hash and print alike."""
    assert value == value, value
    assert value == again, (value, again)
    assert hash(value) == hash(again), (value, again)
    assert str(value) == str(again), (value, again)
