"""Candidate lines, and datagrams that come to agents of each dialect. The first byte says which."""

from __future__ import annotations

import contextlib
from typing import Final

from parley.ice.agent import Agent
from parley.ice.candidates import Dialect
from parley.ice.errors import CandidateParseError
from parley.ice.lines import (
    MAX_LINE,
    fits,
    parse_candidate,
    parse_remote_candidate,
    parse_remote_candidates,
    write_candidate,
)
from parley.ice.lite import LiteAgent
from parley.ice.wire import Check, Packet, WireForm, encode_check, encode_success
from parley.stun.addresses import Address
from parley.stun.codes import MessageClass
from parley.stun.errors import StunParseError

_DIALECTS: Final = tuple(Dialect)
_OURS: Final = Address("192.0.2.1", 5000)
_PEER: Final = Address("192.0.2.2", 6000)


def _line(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for parser in (parse_remote_candidates, parse_remote_candidate):
        with contextlib.suppress(CandidateParseError):
            parser(text)
    try:
        dialect, candidate = parse_candidate(text)
    except CandidateParseError:
        return
    for other in (dialect,) if dialect is Dialect.MS_ICE else (dialect, Dialect.MS_ICE2):
        if fits(candidate, other):
            line = write_candidate(candidate, other)
            if len(line) > MAX_LINE:  # it says things that were left out
                continue
            again = parse_candidate(line)[1]
            assert again == candidate, (again, candidate)


def _agent(dialect: Dialect) -> Agent:
    agent, peer = Agent(dialect, controlling=True), Agent(dialect, controlling=False)
    agent.add_local(1, _OURS)
    peer.add_local(1, _PEER)
    agent.set_remote(None if dialect is Dialect.MS_ICE else peer.credentials, peer.local_candidates, 0.0)
    return agent


def _datagram(dialect: Dialect, data: bytes) -> None:
    agent = _agent(dialect)
    agent.datagrams.clear()
    agent.receive(data, _OURS, _PEER, 1.0)
    assert agent.selected() is None
    assert len(agent.remote_candidates) == 1
    lite = LiteAgent()
    lite.add_local(1, _OURS)
    lite.receive(data, _OURS, _PEER)
    assert not lite.events
    try:
        packet = Packet.parse(data, dialect)
        check = packet.check()
    except StunParseError:
        return
    form = WireForm.first_of(dialect)
    if packet.message_class is MessageClass.REQUEST and check.foundation.isascii():
        assert Packet.parse(encode_success(packet, _PEER, b"key", form), dialect).mapped_address() == _PEER
        written = Check(check.username, check.priority, bool(check.controlling), check.tie_breaker, True, check.foundation)
        again = Packet.parse(encode_check(written, packet.transaction_id, b"key", form), dialect)
        assert again.username == check.username


def fuzz_one(data: bytes) -> None:
    """Reads one line, or takes one datagram."""
    if data:
        number = data[0] % (len(_DIALECTS) + 1)
        if number == len(_DIALECTS):
            _line(data[1:])
        else:
            _datagram(_DIALECTS[number], data[1:])
