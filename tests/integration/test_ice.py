"""ICE agents of ours with those of aioice, which shares no code with them, and with one another over sockets."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import aioice
import pytest

from parley.ice.agent import Agent
from parley.ice.candidates import Candidate, CandidateType, Dialect
from parley.ice.credentials import Credentials
from parley.ice.events import CandidateFound, Completed, ConsentLost, Event, GatheringDone, RoleChanged
from parley.ice.lines import parse_candidate, write_candidate
from parley.ice.transactions import Timing
from parley.platform.media.ice import IceTransport
from parley.stun.addresses import Address
from parley.stun.codes import Attribute
from parley.stun.message import Message
from tests.support.edge import PASSWORD, USER, EdgeNode
from tests.support.waiting import eventually, until

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def _aioice_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [HOST])


class Side:
    """An agent of ours, and what it told."""

    def __init__(self, agent: Agent) -> None:
        self.events: list[Event] = []
        self.media: list[tuple[int, bytes]] = []
        self.agent = agent
        self.transport = IceTransport(
            agent, self.events.append, lambda component, data, _: self.media.append((component, data))
        )

    async def open(self) -> None:
        await self.transport.open([HOST])


def theirs_to_ours(peer: aioice.Connection) -> list[Candidate]:
    return [parse_candidate("candidate:" + candidate.to_sdp())[1] for candidate in peer.local_candidates]


async def introduce(side: Side, peer: aioice.Connection) -> None:
    peer.remote_username, peer.remote_password = side.agent.credentials.ufrag, side.agent.credentials.password
    for candidate in side.agent.local_candidates:
        line = write_candidate(candidate, Dialect.RFC).removeprefix("candidate:")
        await peer.add_remote_candidate(aioice.Candidate.from_sdp(line))
    await peer.add_remote_candidate(None)


@pytest.mark.parametrize("controlling", [True, False], ids=["we-control", "it-controls"])
@pytest.mark.parametrize("conflict", [False, True])
@pytest.mark.parametrize("components", [1, 2])
async def test_aioice(controlling: bool, conflict: bool, components: int) -> None:
    side = Side(Agent(controlling=controlling, components=components))
    peer = aioice.Connection(ice_controlling=controlling is conflict, components=components)
    try:
        await side.open()
        await peer.gather_candidates()
        await introduce(side, peer)
        side.transport.set_remote(Credentials.checked(peer.local_username, peer.local_password), theirs_to_ours(peer))
        await asyncio.wait_for(peer.connect(), 10)
        await until(lambda: Completed() in side.events)
        assert any(isinstance(event, RoleChanged) for event in side.events) or side.agent.controlling is controlling
        assert side.agent.controlling is not peer.ice_controlling
        for component in range(1, components + 1):
            await peer.sendto(b"\x80to us", component)
            expected = (component, b"\x80to us")
            await until(partial(side.media.__contains__, expected))
            assert side.transport.send(component, b"\x80to you")
            assert await asyncio.wait_for(peer.recvfrom(), 5) == (b"\x80to you", component)
    finally:
        side.transport.close()
        await peer.close()


async def test_candidates_trickle_in_and_aioice_knows_us_from_our_checks_alone() -> None:
    side, peer = Side(Agent(controlling=True)), aioice.Connection(ice_controlling=False)
    try:
        await side.open()
        await peer.gather_candidates()
        credentials = Credentials.checked(peer.local_username, peer.local_password)
        side.transport.set_remote(credentials, [], more=True)
        peer.remote_username, peer.remote_password = side.agent.credentials.ufrag, side.agent.credentials.password
        dead = "1 1 udp 2130706431 127.0.0.1 9 typ host"
        await peer.add_remote_candidate(aioice.Candidate.from_sdp(dead))
        await peer.add_remote_candidate(None)
        connecting = asyncio.create_task(peer.connect())
        for candidate in theirs_to_ours(peer):
            side.transport.add_remote(candidate)
        side.transport.add_remote(None)
        await asyncio.wait_for(connecting, 10)
        await until(lambda: Completed() in side.events)
    finally:
        side.transport.close()
        await peer.close()


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_two_of_ours_over_sockets(dialect: Dialect) -> None:
    sides = [Side(Agent(dialect, controlling=controlling, components=2)) for controlling in (True, False)]
    try:
        for side in sides:
            await side.open()
        for ours, theirs in (sides, sides[::-1]):
            credentials = None if dialect is Dialect.MS_ICE else theirs.agent.credentials
            ours.transport.set_remote(credentials, theirs.agent.local_candidates)
        await until(lambda: all(Completed() in side.events for side in sides))
        assert sides[0].transport.send(2, b"\x80data")
        await until(lambda: sides[1].media == [(2, b"\x80data")])
    finally:
        for side in sides:
            side.transport.close()
    assert not sides[0].transport.send(2, b"\x80data")


async def test_consent_is_lost_when_the_other_side_is_gone() -> None:
    timing = Timing(consent=0.1, consent_limit=0.5)
    sides = [Side(Agent(controlling=controlling, timing=timing)) for controlling in (True, False)]
    try:
        for side in sides:
            await side.open()
        for ours, theirs in (sides, sides[::-1]):
            ours.transport.set_remote(theirs.agent.credentials, theirs.agent.local_candidates)
        await until(lambda: all(Completed() in side.events for side in sides))
        await asyncio.sleep(1)
        assert ConsentLost(1) not in sides[0].events
        sides[1].transport.close()
        await until(lambda: ConsentLost(1) in sides[0].events)
    finally:
        for side in sides:
            side.transport.close()


async def test_ports_are_of_the_range_and_used_up() -> None:
    first, second, third = (Side(Agent(controlling=True)) for _ in range(3))
    try:
        await first.open()
        taken = first.agent.local_candidates[0].address.port
        await second.transport.open([HOST], [taken, 0])
        assert second.agent.local_candidates[0].address.port != taken
        with pytest.raises(OSError, match=r".+"):
            await third.transport.open([HOST], [taken])
    finally:
        for side in (first, second, third):
            side.transport.close()


async def test_a_stun_server_tells_our_address() -> None:
    class Server(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            success = (
                Message.parse(data).success().add_xor_address(Attribute.XOR_MAPPED_ADDRESS, Address("203.0.113.9", 4000))
            )
            transport.sendto(bytes(success), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=(HOST, 0))
    side = Side(Agent(controlling=True))
    try:
        await side.open()
        side.transport.gather([Address(HOST, transport.get_extra_info("sockname")[1])])
        await until(lambda: GatheringDone() in side.events)
        (found,) = [event.candidate for event in side.events if isinstance(event, CandidateFound)]
        assert (found.address, found.related) == (Address("203.0.113.9", 4000), side.agent.local_candidates[0].address)
    finally:
        side.transport.close()
        transport.close()


@pytest.mark.parametrize("relay_only", [(True, False), (False, True), (True, True)], ids=["one", "the-other", "both"])
async def test_media_over_relays_of_the_edge(tmp_path: Path, relay_only: tuple[bool, bool]) -> None:
    sides = [
        Side(Agent(controlling=only, components=2, relay_only=each))
        for only, each in zip((True, False), relay_only, strict=True)
    ]
    async with EdgeNode(tmp_path) as edge:
        try:
            for side in sides:
                await side.open()
                side.transport.allocate(Address(HOST, edge.udp), USER, PASSWORD)
            await until(lambda: all(GatheringDone() in side.events for side in sides))
            for ours, theirs in (sides, sides[::-1]):
                kinds = {candidate.type for candidate in theirs.agent.offered}
                assert CandidateType.RELAYED in kinds
                ours.transport.set_remote(theirs.agent.credentials, theirs.agent.offered)
            await until(lambda: all(Completed() in side.events for side in sides))
            for only, side in zip(relay_only, sides, strict=True):
                selected = side.agent.selected(2)
                assert selected is not None
                assert not only or selected.local.type is CandidateType.RELAYED
            for ours, theirs in (sides, sides[::-1]):
                for number in range(3):
                    assert ours.transport.send(2, b"\x80media %d" % number)
                    expected = (2, b"\x80media %d" % number)
                    await until(partial(theirs.media.__contains__, expected))
            assert await edge.metric("parley_relay_allocations") == 4
        finally:
            for side in sides:
                side.transport.close()
        await eventually(lambda: _no_allocations(edge))


async def _no_allocations(edge: EdgeNode) -> bool:
    return await edge.metric("parley_relay_allocations") == 0


async def test_a_relay_with_a_wrong_password_is_none(tmp_path: Path) -> None:
    side = Side(Agent(controlling=True))
    async with EdgeNode(tmp_path) as edge:
        try:
            await side.open()
            side.transport.allocate(Address(HOST, edge.udp), USER, "wrong")
            await until(lambda: GatheringDone() in side.events)
            assert [candidate.type for candidate in side.agent.offered] == [CandidateType.HOST]
        finally:
            side.transport.close()
