"""libnice, the ICE of SIPE and of GStreamer, with agents of ours: its three modes, both roles, one component and two."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from parley.ice.agent import Agent
from parley.ice.candidates import Dialect
from parley.ice.events import Completed, Event, Failed
from parley.ice.lite import LiteAgent
from parley.platform.media.ice import IceTransport
from parley.stun.addresses import Address
from tests.support.libnice import LibniceAgent, build, libnice_missing
from tests.support.waiting import until

pytestmark = pytest.mark.libnice
MODES = {"rfc5245": Dialect.RFC, "oc2007r2": Dialect.MS_ICE2, "oc2007": Dialect.MS_ICE}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    problem = libnice_missing()
    if problem is not None:
        pytest.skip(problem)
    return build(tmp_path_factory.mktemp("libnice"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("controlling", [True, False], ids=["we-control", "it-controls"])
@pytest.mark.parametrize("components", [1, 2])
async def test_media_flows(program: Path, mode: str, controlling: bool, components: int) -> None:
    dialect, events, media = MODES[mode], list[Event](), list[tuple[int, bytes]]()
    agent = Agent(dialect, controlling=controlling, components=components)
    ours = IceTransport(agent, events.append, lambda component, data, _: media.append((component, data)))
    theirs = await LibniceAgent.start(program, mode, controlling=not controlling, components=components)
    try:
        await ours.open(["127.0.0.1"])
        shared = dialect is not Dialect.MS_ICE
        theirs.tell(agent.credentials if shared else None, agent.local_candidates)
        ours.set_remote(theirs.credentials if shared else None, theirs.candidates)
        numbers = range(1, components + 1)
        await until(lambda: Completed() in events and all(theirs.is_ready(number) for number in numbers), 15)
        for number in numbers:
            pair, selected = theirs.pair(number), agent.selected(number)
            assert selected is not None
            assert pair == (selected.remote.address, selected.base)
            assert ours.send(number, b"\x80media %d" % number)
        await until(lambda: len(media) == components, 5)
        assert sorted(media) == [(number, b"\x80media %d" % number) for number in numbers]
        assert agent.refused == 0
        assert not any(isinstance(event, Failed) for event in events)
    finally:
        ours.close()
        await theirs.stop()


async def test_the_form_of_communicator_is_found_by_an_agent_of_the_standard(program: Path) -> None:
    """A description that does not show what the peer is: its first check does."""
    events = list[Event]()
    agent = Agent(Dialect.RFC, controlling=True, components=2)
    ours = IceTransport(agent, events.append, lambda *_: None)
    theirs = await LibniceAgent.start(program, "oc2007r2", controlling=False, components=2)
    try:
        await ours.open(["127.0.0.1"])
        theirs.tell(agent.credentials, agent.local_candidates)
        ours.set_remote(theirs.credentials, theirs.candidates)
        await until(lambda: Completed() in events and theirs.is_ready(1) and theirs.is_ready(2), 15)
    finally:
        ours.close()
        await theirs.stop()


async def test_a_lite_agent(program: Path) -> None:
    loop = asyncio.get_running_loop()
    lite = LiteAgent()

    class Socket(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            assert lite.receive(data, base, Address(*addr))
            for datagram in lite.datagrams:
                transport.sendto(datagram.data, tuple(datagram.remote))
            lite.datagrams.clear()

    transport, _ = await loop.create_datagram_endpoint(Socket, local_addr=("127.0.0.1", 0))
    base = Address("127.0.0.1", transport.get_extra_info("sockname")[1])
    lite.add_local(1, base)
    theirs = await LibniceAgent.start(program, "rfc5245", controlling=True, components=1)
    try:
        theirs.tell(lite.credentials, lite.local_candidates)
        await until(lambda: Completed() in lite.events and theirs.is_ready(1), 15)
        selected = lite.selected()
        assert selected is not None
        assert theirs.pair(1) == (selected.remote.address, base)
    finally:
        transport.close()
        await theirs.stop()
