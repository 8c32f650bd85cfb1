"""Clients of MS-TURN at a running edge, over UDP, TCP and behind pseudo-TLS."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.mras.tokens import Tokens
from parley.platform.keys import parse_master_key
from parley.stun.addresses import Address
from parley.stun.ms.client import Allocated, Carriage, Failed, PeerData
from parley.stun.ms.pseudo_tls import SERVER_HELLO_SIZE, client_hello, is_server_hello
from services.avedge.issuing import mras_key
from tests.support.edge import EdgeNode
from tests.support.ms_turn import MsEndpoint

pytestmark = pytest.mark.valkey


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[EdgeNode]:
    """An edge on loopback."""
    async with EdgeNode(tmp_path / "edge") as node:
        yield node


def client(
    edge: EdgeNode, carriage: Carriage = Carriage.DATAGRAMS, *, user: str = "sip:alice@example.test", seconds: float = 3600
) -> MsEndpoint:
    """A client with credentials such as the edge issues."""
    master = parse_master_key((edge.folder / "master.key").read_text())
    issued = Tokens([mras_key(master)]).issue(user, time.time() + seconds)
    port = edge.udp if carriage is Carriage.DATAGRAMS else edge.tcp
    return MsEndpoint(Address("127.0.0.1", port), issued.username, issued.password, carriage)


@pytest.mark.parametrize("carriage", Carriage)
async def test_two_clients_talk_through_their_relays(edge: EdgeNode, carriage: Carriage) -> None:
    async with client(edge, carriage) as alice, client(edge, user="sip:bob@example.test") as bob:
        at_alice, at_bob = await alice.allocate(), await bob.allocate()
        bob.send(at_alice, b"too early")
        await bob.ask(600)  # what came before it has been seen to by then, and alice's relay is permitted
        async with asyncio.timeout(10):
            while not await edge.metric("parley_relay_dropped_total"):
                await asyncio.sleep(0.05)
        alice.send(at_bob, b"hello")
        assert await bob.packet() == PeerData(at_alice, b"hello", bare=False)
        bob.send(at_alice, b"hello yourself")
        assert await alice.packet() == PeerData(at_bob, b"hello yourself", bare=False)
        await alice.set_destination(at_bob)
        await bob.set_destination(at_alice)
        stun = bytes.fromhex("000100002112a442") + bytes(12)  # a connectivity check, which is payload now
        for payload in (b"\x80\x00rtp", stun, b"\x40\x00\x00\x01x", bytes(1200)):
            alice.send_bare(payload)
            assert await bob.packet() == PeerData(at_alice, payload, bare=True)
            bob.send_bare(payload)
            assert await alice.packet() == PeerData(at_bob, payload, bare=True)
        assert await alice.ask(0) == Allocated(None, None, 0)
        assert await bob.ask(0) == Allocated(None, None, 0)
    transport = "udp" if carriage is Carriage.DATAGRAMS else "tcp"
    assert await edge.metric("parley_relay_packets_total", direction="sent", transport=transport) >= 5
    assert "Traceback" not in edge.log()


async def test_a_peer_without_relay(edge: EdgeNode) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        peer.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", peer.getsockname()[1])
        async with client(edge) as alice, asyncio.timeout(10):
            relay = await alice.allocate()
            alice.send(address, b"ping")
            assert await loop.sock_recvfrom(peer, 100) == (b"ping", tuple(relay))
            await loop.sock_sendto(peer, b"pong", relay)
            assert await alice.packet() == PeerData(address, b"pong", bare=False)


async def test_the_hello_comes_in_one_piece_and_before_anything_else(edge: EdgeNode) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.tcp)
    hello = client_hello(bytes(32))
    writer.write(hello[:20])
    await asyncio.sleep(0.1)
    writer.write(hello[20:])
    async with asyncio.timeout(10):
        answer = await reader.read(1000)
    assert len(answer) == SERVER_HELLO_SIZE
    assert is_server_hello(answer)
    writer.close()


async def test_broken_frames_end_the_connection(edge: EdgeNode) -> None:
    for after in (
        b"\x05\0\0\0",
        b"\x02\0\0\x01x",
        b"\x03\0\0\x20" + bytes(20) + bytes.fromhex("000f000472c64bc6") + bytes(4),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.tcp)
        writer.write(client_hello(bytes(32)) + after)
        async with asyncio.timeout(10):
            assert is_server_hello(await reader.readexactly(SERVER_HELLO_SIZE))
            assert await reader.read() == b""
        writer.close()


async def test_wrong_and_expired_credentials(edge: EdgeNode) -> None:
    async with MsEndpoint(Address("127.0.0.1", edge.udp), bytes(52), bytes(20), Carriage.DATAGRAMS) as nobody:
        assert await nobody.ask() == Failed(436, protected=False)
    async with client(edge, seconds=-25 * 3600) as late:
        assert await late.ask() == Failed(430, protected=True)
    async with client(edge, seconds=-23 * 3600) as within_grace:
        await within_grace.allocate()


async def test_the_end_of_a_connection_ends_its_allocation(edge: EdgeNode) -> None:
    async with client(edge, Carriage.PSEUDO_TLS) as alice:
        await alice.allocate()
    async with asyncio.timeout(10):
        while await edge.metric("parley_relay_allocations"):
            await asyncio.sleep(0.1)


async def test_while_it_drains_clients_are_sent_to_another_edge(tmp_path: Path) -> None:
    async with EdgeNode(tmp_path / "edge", alternate=["127.0.0.9"]) as edge, client(edge) as old, client(edge) as new:
        await old.allocate()
        edge.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while not isinstance(found := await new.ask(), Failed):
                await new.ask(0)
        assert found == Failed(300, protected=True, alternate=Address("127.0.0.9", edge.udp))
        assert isinstance(await old.ask(), Allocated)
        assert await old.ask(0) == Allocated(None, None, 0)
