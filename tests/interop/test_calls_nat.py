"""Calls between phones in homes behind NAT, which reach one another through the A/V edge alone.

They use TURN without ICE: the ICE of baresip 1.0 loses the checks of a peer behind symmetric NAT.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from tests.interop.test_calls_baresip import TONES, connect, hears
from tests.support.baresip import Account, Phone
from tests.support.network import PUBLIC, Host, Internet, Nat
from tests.support.parley_server import ParleyServer

pytestmark = [pytest.mark.baresip, pytest.mark.valkey, pytest.mark.network]

TURN_PASSWORD = "through-the-relay"


@pytest.fixture
def internet() -> Iterator[Internet]:
    with Internet() as internet:
        yield internet


class Street:
    """A server with a public address, and phones at home."""

    def __init__(self, internet: Internet, folder: Path) -> None:
        self._internet = internet
        self._folder = folder
        self.host = internet.host()
        edge = {
            "ports": {"udp": 3478, "tcp": 3478, "dtls": -1, "tls": -1},
            "credentials": {"users": dict.fromkeys(TONES, TURN_PASSWORD)},
        }
        self.server = ParleyServer(folder / "server", config={"avedge": edge}, env={"PARLEY_BIND": self.host.address})
        self.server.network = self.host

    async def phone(self, stack: AsyncExitStack, user: str, nat: Nat, *, relayed: bool = True) -> Phone:
        """A registered phone in a home of its own."""
        server = f'stunserver="turn:{self.host.address}:3478";stunuser={user};stunpass={TURN_PASSWORD}'
        extra = f";medianat=turn;{server}" if relayed else ""
        outbound = f"sip:{self.host.address}:{self.server.ports['tls']};transport=tls"
        home = self._internet.home(nat)
        phone = Phone(
            self._folder / user,
            Account(user, self.server.password, "example.test", outbound, extra=extra),
            tone=TONES[user],
            ca_file=self.server.ca_file,
            host=home.address,
            network=home,
        )
        await stack.enter_async_context(phone)
        await phone.wait_registered()
        return phone


@pytest.fixture
async def street(internet: Internet, tmp_path: Path) -> Street:
    return Street(internet, tmp_path)


@pytest.mark.parametrize(("nat", "ports", "open_to_all"), [(Nat.FULL_CONE, 1, True), (Nat.SYMMETRIC, 2, False)])
def test_homes_are_behind_such_nat(internet: Internet, nat: Nat, ports: int, open_to_all: bool) -> None:
    with ExitStack() as stack:

        def listener(host: Host, port: int) -> socket.socket:
            listener = stack.enter_context(host.open_socket(socket.SOCK_DGRAM, port))
            listener.settimeout(1)
            return listener

        there, other, home = internet.host(), internet.host(), internet.home(nat)
        phone, first, second = listener(home, 12_000), listener(there, 4000), listener(there, 4001)
        for port in (4000, 4001):
            phone.sendto(b"hello", (there.address, port))
        seen = [each.recvfrom(100)[1] for each in (first, second)]
        assert {host for host, _ in seen} == {f"{PUBLIC}.3"}
        assert len({port for _, port in seen}) == ports
        first.sendto(b"answer", seen[0])
        assert phone.recv(100) == b"answer"
        listener(other, 4000).sendto(b"from a stranger", seen[0])
        try:
            got = phone.recv(100)
        except TimeoutError:
            got = b""
        assert got == (b"from a stranger" if open_to_all else b"")


@pytest.mark.parametrize(
    ("alices", "bobs"),
    [(Nat.FULL_CONE, Nat.FULL_CONE), (Nat.SYMMETRIC, Nat.SYMMETRIC), (Nat.SYMMETRIC, Nat.FULL_CONE)],
)
async def test_two_phones_talk_through_the_edge(street: Street, alices: Nat, bobs: Nat) -> None:
    await street.server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(street.server.stop)
        alice = await street.phone(stack, "alice", alices)
        bob = await street.phone(stack, "bob", bobs)
        await connect(alice, bob, "sip:bob@example.test")
        await asyncio.gather(hears(alice, TONES["bob"]), hears(bob, TONES["alice"]))


async def test_without_the_edge_they_do_not_hear_each_other(street: Street) -> None:
    await street.server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(street.server.stop)
        alice = await street.phone(stack, "alice", Nat.SYMMETRIC, relayed=False)
        bob = await street.phone(stack, "bob", Nat.SYMMETRIC, relayed=False)
        await connect(alice, bob, "sip:bob@example.test")
        with pytest.raises(AssertionError, match="does not hear"):
            await hears(alice, TONES["bob"], timeout=3)
