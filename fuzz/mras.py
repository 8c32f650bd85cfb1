"""Requests for relay credentials, their answers, and user names that are tokens. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from parley.mras.documents import MrasError, Phrase, parse_request, parse_response, write_request, write_response
from parley.mras.tokens import Tokens

_TOKENS: Final = Tokens([bytes(32)])


def _request(data: bytes) -> None:
    try:
        request = parse_request(data)
    except MrasError as error:
        assert error.phrase is not Phrase.OK
        assert parse_response(write_response(error.envelope, error.phrase)).phrase == error.phrase.text
        raise
    assert parse_request(write_request(request)) == request


def _response(data: bytes) -> None:
    parse_response(data)


def _token(data: bytes) -> None:
    assert _TOKENS.verify(data) is None


_READERS: Final[tuple[Callable[[bytes], object], ...]] = (_request, _response, _token)


def fuzz_one(data: bytes) -> None:
    """Reads one input."""
    if not data:
        return
    try:
        _READERS[data[0] % len(_READERS)](data[1:])
    except MrasError:
        return
