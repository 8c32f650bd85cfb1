"""C3P requests, names of conferences and what is relayed. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from parley.c3p.commands import add_user, conference_entity, conference_id, conference_info, granted_role, locked, user_keys
from parley.c3p.envelope import C3pRequest, failure, parse_request, success
from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.conference.uris import parse_name, same_uri
from parley.proto.immcu.v1.state_pb2 import ChatMessage, Session
from parley.sip.errors import SipParseError
from parley.sip.uri import parse_uri
from parley.xml import parse_xml
from services.immcu.messages import for_session

_COMMANDS: Final[tuple[Callable[[C3pRequest], object], ...]] = (
    add_user, conference_entity, conference_id, conference_info, granted_role, locked, user_keys,
)  # fmt: skip


def _request(data: bytes) -> None:
    asked = parse_request(data)
    parse_xml(success(asked))
    parse_xml(failure(asked, Reason.FORBIDDEN))
    for command in _COMMANDS:
        try:
            command(asked)
        except (C3pError, CommandFailed):
            continue


def _name(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    named = parse_name(parse_uri(text))
    if named is not None:
        name, kind = named
        assert same_uri(text, name.uri(kind))


def _relayed(data: bytes) -> None:
    message = ChatMessage(content_type="multipart/alternative; boundary=b", body=data, sender="sip:a@b", sender_name="A")
    headers, body = for_session(message, Session(accept_types=["text/plain"]))
    assert headers and len(body) <= len(data) + 3


_READERS: Final[tuple[Callable[[bytes], object], ...]] = (_request, _name, _relayed)


def fuzz_one(data: bytes) -> None:
    """Reads one input."""
    if not data:
        return
    try:
        _READERS[data[0] % len(_READERS)](data[1:])
    except (C3pError, SipParseError):
        return
