"""Relayed candidates, with the core of our own TURN server at the other end."""

from __future__ import annotations

import pytest

from parley.ice.agent import Agent
from parley.ice.candidates import Candidate, CandidateTransport, CandidateType
from parley.ice.credentials import Credentials
from parley.ice.events import CandidateFound, Completed, Datagram, GatheringDone
from parley.ice.wire import looks_like_check
from parley.stun.addresses import Address
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.message import Message
from parley.stun.turn.allocations import Flow, Transport
from tests.support.ice_network import Network
from tests.support.turn import CLIENT, PASSWORD, PEER, SERVER, USER, Rig


def exchange(rig: Rig, agent: Agent) -> list[Datagram]:
    """Lets the server answer until nothing moves; what it was sent that is no request, and what went elsewhere."""
    rest = []
    while agent.datagrams:
        datagram = agent.datagrams.pop(0)
        assert datagram.base == CLIENT
        reply = None
        if datagram.remote == SERVER:
            reply = rig.server.receive(Flow(Transport.UDP, CLIENT, SERVER), datagram.data, rig.now)
        if reply is None:
            rest.append(datagram)
        else:
            assert agent.receive(reply, CLIENT, SERVER, rig.now)
    return rest


def relaying(rig: Rig, password: str = PASSWORD) -> Agent:
    agent = Agent(controlling=True, relay_only=True)
    agent.add_local(1, CLIENT)
    agent.allocate(SERVER, USER, password, rig.now)
    exchange(rig, agent)
    return agent


def test_an_allocation_is_a_candidate() -> None:
    rig = Rig()
    agent = relaying(rig)
    (candidate,) = agent.offered
    assert (candidate.type, candidate.address) == (CandidateType.RELAYED, Address("203.0.113.1", 50000))
    assert candidate.related == CLIENT
    assert agent.events == [CandidateFound(candidate), GatheringDone()]


def test_checks_and_media_go_through_the_relay() -> None:
    rig = Rig()
    agent = relaying(rig)
    peer = Candidate("1", 1, CandidateTransport.UDP, 2130706431, PEER, CandidateType.HOST)
    agent.set_remote(Credentials.random(), [peer], rig.now)
    (sent,) = exchange(rig, agent)
    assert ("permit", PEER.host) in rig.plane.told
    message = Message.parse(sent.data)
    assert (message.method, message.message_class) == (Method.SEND, MessageClass.INDICATION)
    assert message.get_xor_address(Attribute.XOR_PEER_ADDRESS) == PEER
    assert looks_like_check(message.get(Attribute.DATA) or b"", agent.dialect)
    data = Message(Method.DATA, MessageClass.INDICATION).add_xor_address(Attribute.XOR_PEER_ADDRESS, PEER)
    assert agent.receive(bytes(data.add(Attribute.DATA, b"\x80media")), CLIENT, SERVER, rig.now)
    assert agent.media == [(1, b"\x80media", PEER)]


def test_relays_are_refreshed_and_given_back() -> None:
    rig = Rig()
    agent = relaying(rig)
    while rig.now < 1000 + 3600:
        deadline = agent.deadline
        assert deadline is not None
        rig.now = max(rig.now, deadline)
        rig.server.expire(rig.now)
        agent.handle_timer(rig.now)
        exchange(rig, agent)
    assert len(rig.plane.allocations) == 1
    agent.release(rig.now)
    exchange(rig, agent)
    assert not rig.plane.allocations


def test_a_refusal_ends_gathering() -> None:
    agent = relaying(Rig(), "wrong")
    assert agent.offered == []
    assert agent.events == [GatheringDone()]


@pytest.mark.parametrize("relay_only", [(True, True), (True, False), (False, True)], ids=["both", "one", "the-other"])
@pytest.mark.parametrize("seed", range(12))
def test_relays_whose_packets_overtake_one_another(seed: int, relay_only: tuple[bool, bool]) -> None:
    net = Network(seed, delay=(0.0001, 0.02))
    net.turn_server(Rig())
    agents = [Agent(controlling=not at, components=2, relay_only=only) for at, only in enumerate(relay_only)]
    for agent, host in zip(agents, ("8.8.8.1", "8.8.8.2"), strict=True):
        net.attach(agent, host)
        agent.allocate(SERVER, USER, PASSWORD, net.now)
    net.run(until=5, stop=lambda: all(GatheringDone() in net.log[agent] for agent in agents))
    began = net.now
    for ours, theirs in (agents, agents[::-1]):
        # The candidates of the second component come first where its relay was opened first.
        ours.set_remote(theirs.credentials, theirs.offered, net.now)
    net.run(until=began + 3, stop=lambda: all(Completed() in net.log[agent] for agent in agents))
    assert all(Completed() in net.log[agent] for agent in agents)


@pytest.mark.parametrize("trickling", [False, True])
def test_two_agents_that_begin_with_different_components(trickling: bool) -> None:
    net = Network()
    net.turn_server(Rig())
    agents = [Agent(controlling=controlling, components=2, relay_only=True) for controlling in (True, False)]
    for agent, host in zip(agents, ("8.8.8.1", "8.8.8.2"), strict=True):
        net.attach(agent, host)
        agent.allocate(SERVER, USER, PASSWORD, net.now)
    net.run(until=5, stop=lambda: all(GatheringDone() in net.log[agent] for agent in agents))
    began, told = net.now, [agents[1].offered, agents[0].offered[::-1]]
    for ours, theirs, candidates in zip(agents, agents[::-1], told, strict=True):
        ours.set_remote(theirs.credentials, [] if trickling else candidates, net.now, more=trickling)
        for candidate in (*candidates, None) if trickling else ():
            ours.add_remote(candidate, net.now)
    net.run(until=began + 3, stop=lambda: all(Completed() in net.log[agent] for agent in agents))
    assert all(Completed() in net.log[agent] for agent in agents)


def test_every_peer_is_permitted_before_it_is_checked() -> None:
    rig = Rig()
    agent = relaying(rig)
    hosts = ("8.8.4.4", "9.9.9.9")
    agent.set_remote(
        Credentials.random(),
        [
            Candidate(str(at), 1, CandidateTransport.UDP, 2130706431 - at, Address(host, 5000), CandidateType.HOST)
            for at, host in enumerate(hosts)
        ],
        rig.now,
    )
    assert len(exchange(rig, agent)) == 1
    assert [what for what in rig.plane.told if what[0] == "permit"] == [("permit", host) for host in hosts]
