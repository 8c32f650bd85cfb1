"""What targets of documents share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fuzz.common import same
from parley.presence.standard.errors import DocumentError


def refused(parser: Callable[[], Any]) -> Any:
    """What a parser gives; None when it refuses with a text that can be sent."""
    try:
        return parser()
    except DocumentError as error:
        text = str(error)
        assert text and text.isascii() and text.isprintable(), error
        return None


def again(parser: Callable[[bytes], Any], builder: Callable[[Any], bytes]) -> Callable[[bytes], Any]:
    """What is read can be written, and is then read as the same."""

    def one(data: bytes) -> Any:
        found = refused(lambda: parser(data))
        if found is not None:
            same(found, parser(builder(found)))
        return found

    return one
