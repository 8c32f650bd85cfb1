"""Relayed candidates, with the core of our own TURN server at the other end."""

from __future__ import annotations

from parley.ice.agent import Agent
from parley.ice.candidates import Candidate, CandidateTransport, CandidateType
from parley.ice.credentials import Credentials
from parley.ice.events import CandidateFound, Datagram, GatheringDone
from parley.ice.wire import looks_like_check
from parley.stun.addresses import Address
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.message import Message
from parley.stun.turn.allocations import Flow, Transport
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
