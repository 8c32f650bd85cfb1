"""Agents against agents: in every dialect, over bad networks, through NATs, in conflict, anew, and without consent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.ice.agent import Agent
from parley.ice.candidates import CandidateType, Dialect
from parley.ice.errors import IceError
from parley.ice.events import CandidateFound, Completed, ConsentLost, Failed, GatheringDone, RoleChanged
from parley.ice.lite import LiteAgent
from parley.ice.wire import Packet, WireForm, encode_error
from parley.stun.addresses import Address
from parley.stun.codes import ErrorCode
from tests.support.ice_network import Nat, Network, agree, signalled

DIALECTS = list(Dialect)


def introduce(net: Network, left: Agent | LiteAgent, right: Agent | LiteAgent) -> None:
    for ours, theirs in ((left, right), (right, left)):
        if isinstance(ours, Agent):
            credentials = None if ours.dialect is Dialect.MS_ICE else theirs.credentials
            ours.set_remote(credentials, signalled(theirs), net.now, lite=isinstance(theirs, LiteAgent))


def completed(net: Network, *agents: Agent | LiteAgent) -> bool:
    return all(Completed() in net.log[agent] for agent in agents)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("aggressive", [False, True])
def test_two_agents(dialect: Dialect, components: int, aggressive: bool) -> None:
    net = Network(delay=(0.005, 0.04))
    left = Agent(dialect, controlling=True, components=components, aggressive=aggressive)
    right = Agent(dialect, controlling=False, components=components)
    net.attach(left, "192.0.2.1", "198.51.100.1")
    net.attach(right, "192.0.2.2")
    introduce(net, left, right)
    net.run(until=5)
    assert completed(net, left, right)
    agree(left, right)
    assert left.refused == right.refused == 0


@pytest.mark.parametrize(("left_dialect", "right_dialect"), [(Dialect.RFC, Dialect.MS_ICE2), (Dialect.MS_ICE2, Dialect.RFC)])
def test_the_form_of_the_peer_is_found(left_dialect: Dialect, right_dialect: Dialect) -> None:
    net = Network()
    left, right = Agent(left_dialect, controlling=True), Agent(right_dialect, controlling=False)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2")
    introduce(net, left, right)
    net.run(until=5)
    assert completed(net, left, right)
    agree(left, right)


@pytest.mark.parametrize(
    ("dialect", "first", "then"),
    [(Dialect.RFC, WireForm.RFC, WireForm.MS_ICE2), (Dialect.MS_ICE2, WireForm.MS_ICE2, WireForm.RFC)],
)
def test_a_peer_that_refuses_the_first_form_is_asked_in_the_other(dialect: Dialect, first: WireForm, then: WireForm) -> None:
    base, peer = Address("192.0.2.1", 5000), Agent(controlling=False)
    peer.add_local(1, Address("192.0.2.2", 5000))
    agent = Agent(dialect, controlling=True)
    agent.add_local(1, base)
    agent.set_remote(peer.credentials, peer.local_candidates, 0.0)
    asked = []
    for _ in range(2):
        (sent,) = agent.datagrams
        agent.datagrams.clear()
        packet = Packet.parse(sent.data, dialect)
        asked.append(packet.form_for(peer.credentials.key))
        agent.receive(encode_error(packet, ErrorCode.UNAUTHENTICATED), base, sent.remote, 0.0)
    assert asked == [first, then]
    # A second refusal proves nothing: the check is only repeated.
    assert agent.datagrams == []
    while not agent.datagrams:
        assert agent.deadline is not None
        agent.handle_timer(agent.deadline)
    assert agent.datagrams == [sent]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DIALECTS), st.integers(0, 2**32), st.floats(0, 0.35), st.integers(1, 3), st.integers(1, 3),
    st.booleans(), st.booleans(), st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=4), st.integers(1, 2),
    st.booleans(),
)  # fmt: skip
def test_agents_on_bad_networks_agree(
    dialect: Dialect, seed: int, loss: float, left_hosts: int, right_hosts: int, conflict: bool, aggressive: bool,
    cut: list[tuple[int, int]], components: int, late: bool,
) -> None:  # fmt: skip
    net = Network(seed, loss, (0.001, 0.3))
    left = Agent(dialect, controlling=True, components=components, aggressive=aggressive)
    right = Agent(dialect, controlling=conflict, components=components, aggressive=aggressive)
    net.attach(left, *(f"192.0.2.{number}" for number in range(1, left_hosts + 1)))
    net.attach(right, *(f"198.51.100.{number}" for number in range(1, right_hosts + 1)))
    net.cut = {frozenset((f"192.0.2.{one}", f"198.51.100.{other}")) for one, other in cut}
    if len({pair for pair in cut if pair[0] <= left_hosts and pair[1] <= right_hosts}) == left_hosts * right_hosts:
        net.cut.clear()
    if late:
        left.set_remote(None if dialect is Dialect.MS_ICE else right.credentials, signalled(right), 0.0)
        net.run(until=0.7)
        right.set_remote(None if dialect is Dialect.MS_ICE else left.credentials, signalled(left), net.now)
    else:
        introduce(net, left, right)
    net.run(until=20)
    net.loss = 0.0
    net.run(until=60)
    assert completed(net, left, right)
    if dialect is not Dialect.MS_ICE:
        assert left.controlling is not right.controlling
        agree(left, right)


@pytest.mark.parametrize("seed", range(8))
def test_answers_that_take_longer_than_the_first_repetition_count(seed: int) -> None:
    # Each check of the peer has ours sent anew, and the answer to the one before is still under way.
    net = Network(seed, delay=(0.6, 1.2))
    left, right = Agent(controlling=True, components=2), Agent(controlling=False, components=2)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2")
    introduce(net, left, right)
    net.run(until=9)
    assert completed(net, left, right)
    agree(left, right)


def test_a_role_conflict_is_settled() -> None:
    for controlling in (True, False):
        net = Network()
        left, right = Agent(controlling=controlling), Agent(controlling=controlling)
        net.attach(left, "192.0.2.1")
        net.attach(right, "192.0.2.2")
        introduce(net, left, right)
        net.run(until=5)
        assert left.controlling is not right.controlling
        changes = [event for agent in (left, right) for event in net.log[agent] if isinstance(event, RoleChanged)]
        assert changes == [RoleChanged(not controlling)]
        agree(left, right)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_through_a_nat_of_one_side(dialect: Dialect) -> None:
    net, nat = Network(), Nat("203.0.113.1")
    left, right = Agent(dialect, controlling=True, components=2), Agent(dialect, controlling=False, components=2)
    net.attach(left, "10.0.0.1", nat=nat)
    net.attach(right, "192.0.2.2")
    introduce(net, left, right)
    net.run(until=5)
    agree(left, right, (nat,))
    selected, seen = left.selected(), right.selected()
    assert selected is not None
    assert seen is not None
    assert selected.local.type is seen.remote.type is CandidateType.PEER_REFLEXIVE
    assert selected.local.address == seen.remote.address


def test_through_two_nats_with_reflexive_candidates() -> None:
    net, server, nats = Network(), Address("192.0.2.99", 3478), (Nat("203.0.113.1"), Nat("203.0.113.2"))
    net.stun_server(server)
    left, right = Agent(controlling=True), Agent(controlling=False)
    net.attach(left, "10.0.0.1", nat=nats[0])
    net.attach(right, "10.1.0.1", nat=nats[1])
    for agent in (left, right):
        agent.gather([server], net.now)
    net.run(until=2)
    for agent in (left, right):
        found = [event.candidate for event in net.log[agent] if isinstance(event, CandidateFound)]
        assert [candidate.type for candidate in found] == [CandidateType.SERVER_REFLEXIVE]
        assert found[0].related == agent.local_candidates[0].address
        assert GatheringDone() in net.log[agent]
    introduce(net, left, right)
    net.run(until=10)
    agree(left, right, nats)
    selected = left.selected()
    assert selected is not None
    assert selected.local.type is selected.remote.type is CandidateType.SERVER_REFLEXIVE


def test_a_server_that_is_silent_ends_gathering() -> None:
    net = Network()
    agent = Agent(controlling=True)
    net.attach(agent, "192.0.2.1")
    agent.gather([Address("192.0.2.99", 3478)], net.now)
    net.run(until=60)
    assert net.log[agent] == [GatheringDone()]


def test_trickled_candidates() -> None:
    net = Network()
    left, right = Agent(controlling=True), Agent(controlling=False)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2", "192.0.2.3")
    net.cut = {frozenset(("192.0.2.1", "192.0.2.2"))}
    left.set_remote(right.credentials, [], net.now, more=True)
    right.set_remote(left.credentials, [], net.now, more=True)
    net.run(until=50)
    assert net.log[left] == net.log[right] == []
    for candidate in right.local_candidates:
        left.add_remote(candidate, net.now)
        net.run(until=net.now + 1)
    left.add_remote(None, net.now)
    right.add_remote(left.local_candidates[0], net.now)
    right.add_remote(None, net.now)
    net.run(until=net.now + 5)
    agree(left, right)


def test_failure_is_told_after_the_patience() -> None:
    net = Network()
    left, right = Agent(controlling=True, components=2), Agent(controlling=False, components=2)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2")
    net.cut = {frozenset(("192.0.2.1", "192.0.2.2"))}
    introduce(net, left, right)
    net.run(until=39)
    assert net.log[left] == []
    net.run(until=100)
    assert net.log[left] == [Failed(1), Failed(2)]
    assert left.deadline is None


def test_no_candidates_at_all_fail_too() -> None:
    net = Network()
    agent = Agent(controlling=True)
    net.attach(agent, "192.0.2.1")
    agent.set_remote(Agent(controlling=False).credentials, [], net.now)
    net.run(until=100)
    assert net.log[agent] == [Failed(1)]


def test_consent() -> None:
    net = Network()
    left, right = Agent(controlling=True), Agent(controlling=False)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2")
    introduce(net, left, right)
    net.run(until=300)
    agree(left, right)
    asked = [datagram for datagram in net.sent if datagram.data[:2] == b"\0\1"]
    assert 90 < len(asked) < 160
    net.cut = {frozenset(("192.0.2.1", "192.0.2.2"))}
    net.run(until=323)
    assert ConsentLost(1) not in net.log[left]
    net.run(until=340)
    assert ConsentLost(1) in net.log[left]
    assert left.selected() is None
    sent = len(net.sent)
    net.run(until=400)
    assert len(net.sent) == sent


@pytest.mark.parametrize("dialect", [Dialect.MS_ICE2, Dialect.MS_ICE])
def test_old_dialects_are_kept_with_indications(dialect: Dialect) -> None:
    net = Network()
    left, right = Agent(dialect, controlling=True), Agent(dialect, controlling=False)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2")
    introduce(net, left, right)
    net.run(until=10)
    net.sent.clear()
    net.run(until=70)
    assert len(net.sent) == 8
    assert {datagram.data[:2] for datagram in net.sent} == {b"\0\x11"}
    net.cut = {frozenset(("192.0.2.1", "192.0.2.2"))}
    net.run(until=200)
    assert left.selected() is not None


def test_a_restart_moves_media() -> None:
    net = Network()
    left, right = Agent(controlling=True), Agent(controlling=False)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2")
    introduce(net, left, right)
    net.run(until=5)
    before, old = left.selected(), left.credentials
    for agent in (left, right):
        agent.restart()
    assert left.credentials != old
    assert left.selected() == before
    net.attach(left, "192.0.2.7")
    net.attach(right, "192.0.2.8")
    net.cut = {frozenset(("192.0.2.1", "192.0.2.2"))}
    introduce(net, left, right)
    net.run(until=12)
    agree(left, right)
    assert left.selected() != before
    with pytest.raises(IceError):
        Agent(Dialect.MS_ICE, controlling=True).restart()


@pytest.mark.parametrize("aggressive", [False, True])
def test_a_lite_agent(aggressive: bool) -> None:
    net, nat = Network(delay=(0.01, 0.1)), Nat("203.0.113.1")
    full, lite = Agent(controlling=False, components=2, aggressive=aggressive), LiteAgent(components=2)
    net.attach(full, "10.0.0.1", "10.0.0.2", nat=nat)
    net.attach(lite, "192.0.2.1")
    introduce(net, full, lite)
    net.run(until=5)
    assert full.controlling
    assert completed(net, full, lite)
    agree(full, lite, (nat,))
    full.restart()
    lite.restart()
    introduce(net, full, lite)
    net.run(until=10)
    agree(full, lite, (nat,))


def test_the_peer_may_choose_in_the_oldest_dialect() -> None:
    net = Network()
    left, right = Agent(Dialect.MS_ICE, controlling=True), Agent(Dialect.MS_ICE, controlling=False)
    net.attach(left, "192.0.2.1", "192.0.2.2")
    net.attach(right, "192.0.2.3")
    introduce(net, left, right)
    net.run(until=4)
    chosen = Address("192.0.2.2", 5000)
    assert right.choose(1, chosen, net.now)
    selected = right.selected()
    assert selected is not None
    assert selected.remote.address == chosen
    assert not right.choose(1, Address("192.0.2.77", 5000), net.now)


def test_strangers_get_nothing() -> None:
    net = Network()
    left, right, stranger = Agent(controlling=True), Agent(controlling=False), Agent(controlling=True)
    net.attach(left, "192.0.2.1")
    net.attach(right, "192.0.2.2")
    net.attach(stranger, "192.0.2.3")
    introduce(net, left, right)
    stranger.set_remote(Agent(controlling=False).credentials, signalled(right), net.now)
    net.run(until=3)
    agree(left, right)
    assert right.refused > 0
    assert stranger.selected() is None
    assert all(candidate.address.host != "192.0.2.3" for candidate in right.remote_candidates)


def test_media_is_left_to_the_caller() -> None:
    agent = Agent(controlling=True)
    base = agent.add_local(1, Address("192.0.2.1", 5000)).address
    for data in (b"", b"\x80\x00" + bytes(20), b"\x16\xfe\xff" + bytes(20), b"\0\1\0\0" + bytes(16)):
        assert not agent.receive(data, base, Address("192.0.2.9", 1), 0.0)
