"""Lines of candidates: what each dialect writes, reads and refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.ice.candidates import Candidate, CandidateTransport, CandidateType, Dialect, candidate_priority
from parley.ice.credentials import random_candidate_credentials
from parley.ice.errors import CandidateParseError
from parley.ice.lines import (
    fits,
    parse_candidate,
    parse_remote_candidate,
    parse_remote_candidates,
    write_candidate,
    write_remote_candidates,
)
from parley.stun.addresses import Address, unpack_ip

PORTS = st.integers(1, 65535)
V4 = st.ip_addresses(v=4).map(str)
CANDIDATES = st.builds(
    Candidate,
    foundation=st.text("abcXYZ019+/", min_size=1, max_size=32),
    component=st.integers(1, 256),
    transport=st.sampled_from(CandidateTransport),
    priority=st.integers(1, 2**31 - 1),
    address=st.builds(
        Address, st.one_of(V4, st.ip_addresses(v=6).map(lambda ip: unpack_ip(ip.packed)), st.just("3f2c.local")), PORTS
    ),
    type=st.sampled_from(CandidateType),
    related=st.one_of(st.none(), st.builds(Address, V4, PORTS)),
    extensions=st.lists(
        st.tuples(st.sampled_from(["generation", "ufrag", "network-id"]), st.text("abc123", min_size=1)), max_size=3
    ).map(tuple),
)


@given(CANDIDATES, st.sampled_from([Dialect.RFC, Dialect.MS_ICE2]))
def test_lines_are_read_as_written(candidate: Candidate, dialect: Dialect) -> None:
    if not fits(candidate, dialect):
        with pytest.raises(ValueError, match="cannot tell"):
            write_candidate(candidate, dialect)
        return
    found, read = parse_candidate(write_candidate(candidate, dialect))
    assert read == candidate
    assert found is (Dialect.MS_ICE2 if dialect is Dialect.MS_ICE2 and candidate.transport.is_tcp else Dialect.RFC)


@given(V4, PORTS, st.integers(0, 1000), st.integers(1, 2))
def test_lines_with_credentials_are_read_as_written(host: str, port: int, priority: int, component: int) -> None:
    username, password = random_candidate_credentials()
    line = f"candidate:{username} {component} {password} UDP {priority // 1000}.{priority % 1000:03} {host} {port}"
    dialect, candidate = parse_candidate(line)
    assert dialect is Dialect.MS_ICE
    assert (candidate.username, candidate.password, candidate.priority) == (username, password, priority)
    assert (candidate.address, candidate.component) == (Address(host, port), component)
    assert write_candidate(candidate, Dialect.MS_ICE) == line


def test_lines_as_clients_send_them() -> None:
    dialect, candidate = parse_candidate(
        "candidate:4 2 TCP-PASS 1694234623 192.0.2.7 54321 typ srflx raddr 10.0.0.4 rport 5000 "
    )
    assert dialect is Dialect.MS_ICE2
    assert (candidate.transport, candidate.related) == (CandidateTransport.TCP_PASSIVE, Address("10.0.0.4", 5000))
    _, browser = parse_candidate(
        "candidate:842163049 1 udp 1677729535 203.0.113.5 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag EsAw"
    )
    assert browser.extensions == (("generation", "0"), ("ufrag", "EsAw"))
    _, hidden = parse_candidate("candidate:1 1 UDP 2122252543 0d4e2c1a-11.local 50000 typ host")
    assert not hidden.is_usable
    _, old = parse_candidate("candidate:" + "A" * 43 + " 1 " + "B" * 22 + " UDP 0.450 192.0.2.9 50010")
    assert (old.type, old.username) == (CandidateType.RELAYED, "A" * 43)


def test_communicator_is_not_told_what_it_refuses() -> None:
    base = Candidate("1", 1, CandidateTransport.UDP, 1, Address("::1", 9), CandidateType.HOST)
    assert fits(base, Dialect.RFC)
    assert not fits(base, Dialect.MS_ICE2)
    assert not fits(base, Dialect.MS_ICE)


@pytest.mark.parametrize(
    "line",
    [
        "candidate", "candidate:", "candidate:1 1 udp 1 192.0.2.1 1", "candidate:1 1 udp 1 192.0.2.1 1 typ odd",
        "candidate:1 0 udp 1 192.0.2.1 1 typ host", "candidate:1 257 udp 1 192.0.2.1 1 typ host",
        "candidate:1 1 sctp 1 192.0.2.1 1 typ host", "candidate:1 1 tcp 1 192.0.2.1 1 typ host",
        "candidate:1 1 udp 4294967296 192.0.2.1 1 typ host", "candidate:1 1 udp 0 192.0.2.1 1 typ host",
        "candidate:1 1 udp 1 192.0.2.1 65536 typ host", "candidate:1 1 udp 1 fe80::1%eth0 1 typ host",
        "candidate:1 1 udp 1 192.0.2.1 1 typ host raddr", "candidate:% 1 udp 1 192.0.2.1 1 typ host",
        "candidate:1 1 udp ١ 192.0.2.1 1 typ host", "candidate:1 1 tcp 1 192.0.2.1 1 typ host tcptype udp",
        "candidate:a 1 b UDP 2.0 192.0.2.1 1", "candidate:a 1 b SCTP 0.5 192.0.2.1 1", "candidate:* 1 b UDP 0.5 192.0.2.1 1",
        "candidate:1 1 udp 1 192.0.2.1 1 typ host" + " a b" * 17, "candidate:" + "1" * 1100,
    ],
)  # fmt: skip
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(CandidateParseError):
        parse_candidate(line)


def test_remote_candidates() -> None:
    addresses = {1: Address("192.0.2.1", 5000), 2: Address("192.0.2.1", 5001)}
    line = write_remote_candidates(addresses.items())
    assert line == "remote-candidates:1 192.0.2.1 5000 2 192.0.2.1 5001"
    assert parse_remote_candidates(line + " ") == addresses
    assert parse_remote_candidate("remote-candidate:abc=") == "abc"
    for wrong in ("remote-candidates:", "remote-candidates:1 a", "remote-candidates:1 a 1 1 a 1"):
        with pytest.raises(CandidateParseError):
            parse_remote_candidates(wrong)
    for wrong in ("remote-candidate:", "candidate:a"):
        with pytest.raises(CandidateParseError):
            parse_remote_candidate(wrong)


def test_priorities_of_the_standard() -> None:
    assert candidate_priority(CandidateType.HOST, 1) == 2130706431
    assert candidate_priority(CandidateType.SERVER_REFLEXIVE, 2) == 1694498814
