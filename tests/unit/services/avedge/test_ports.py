"""Relay ports: shares of workers, pairs, exhaustion, and what is given back."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest

from parley.stun.addresses import Address, Family
from parley.stun.turn.allocations import Relay
from parley.stun.turn.plane import NoPortLeft
from services.avedge.ports import PortPool
from tests.support.ports import free_port

Opened = list[tuple[PortPool, Relay]]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """What a test opened, closed at its end."""
    relays: Opened = []
    yield relays
    for pool, relay in relays:
        pool.close(relay)


def first_port() -> int:
    """The beginning of eight ports that nobody uses now, over UDP and TCP."""
    while True:
        first = free_port() & ~7
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + 8):
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        sock = held.enter_context(socket.socket(socket.AF_INET, kind))
                        sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return first


def pool_of(first: int, size: int = 8, *, worker: int = 0, workers: int = 1) -> PortPool:
    return PortPool(
        {"127.0.0.1": "192.0.2.7"}, first, first + size - 1, worker=worker, workers=workers, shuffle=random.Random(1)
    )


def take(pool: PortPool, opened: Opened, *, stream: bool = False, even: bool = False, port: int = 0) -> Relay:
    relay = pool.open(Family.IPV4, stream=stream, even=even, port=port)
    opened.append((pool, relay))
    return relay


def test_every_port_of_the_range_is_given_once(opened: Opened) -> None:
    first = first_port()
    pool = pool_of(first)
    ports = [take(pool, opened).local.port for _ in range(8)]
    assert sorted(ports) == list(range(first, first + 8))
    assert ports != sorted(ports)
    with pytest.raises(NoPortLeft):
        pool.open(Family.IPV4, stream=False)


def test_peers_see_the_advertised_address(opened: Opened) -> None:
    relay = take(pool_of(first_port()), opened)
    assert (relay.advertised.host, relay.local.host) == ("192.0.2.7", "127.0.0.1")
    assert relay.advertised.port == relay.local.port == relay.handle.getsockname()[1]


def test_an_even_port_and_its_neighbour(opened: Opened) -> None:
    pool = pool_of(first_port())
    even = take(pool, opened, even=True)
    assert even.local.port % 2 == 0
    assert take(pool, opened, port=even.local.port + 1).local.port == even.local.port + 1
    with pytest.raises(NoPortLeft):
        pool.open(Family.IPV4, stream=False, port=even.local.port)


def test_workers_share_the_range_and_never_a_pair(opened: Opened) -> None:
    first = first_port()
    pools = [pool_of(first, worker=number, workers=2) for number in range(2)]
    shares = [{take(pool, opened).local.port for _ in range(4)} for pool in pools]
    assert not shares[0] & shares[1]
    assert all({port ^ 1 for port in share} == share for share in shares)


def test_a_port_that_was_given_back_is_used_last(opened: Opened) -> None:
    pool = pool_of(first_port())
    relay = pool.open(Family.IPV4, stream=False)
    pool.close(relay)
    pool.close(relay)
    assert pool.left(Family.IPV4, stream=False) == 8
    others = [take(pool, opened).local.port for _ in range(8)]
    assert others[-1] == relay.local.port


def test_a_port_of_another_program_is_passed_over(opened: Opened) -> None:
    first = first_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", first + 3))
        ports = {take(pool := pool_of(first), opened).local.port}
        ports |= {take(pool, opened).local.port for _ in range(6)}
        assert ports == set(range(first, first + 8)) - {first + 3}
        with pytest.raises(NoPortLeft):
            pool.open(Family.IPV4, stream=False)


def test_udp_and_tcp_ports_are_different_ports(opened: Opened) -> None:
    pool = pool_of(first_port(), 2)
    ports = [take(pool, opened, stream=stream).local.port for stream in (False, False, True, True)]
    assert sorted(ports[:2]) == sorted(ports[2:])


def test_a_family_without_address_has_no_ports() -> None:
    with pytest.raises(NoPortLeft, match="IPV6"):
        pool_of(first_port()).open(Family.IPV6, stream=False)


def test_a_tcp_port_is_no_other_edges_and_peers_are_called_from_it(opened: Opened) -> None:
    first = first_port()
    with socket.create_server(("127.0.0.1", 0)) as peer, socket.socket() as calling:
        relay = take(pool_of(first, 2), opened, stream=True)
        assert take(pool_of(first, 2), opened, stream=True).local.port != relay.local.port
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            calling.setsockopt(socket.SOL_SOCKET, option, 1)
        calling.bind(relay.local)
        calling.connect(peer.getsockname())
        accepted, source = peer.accept()
        accepted.close()
        assert Address(*source) == relay.local
