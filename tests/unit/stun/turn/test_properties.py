"""Whatever clients do, in any order: no port leaks, and nothing passes without a permission."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parley.stun.addresses import Address
from parley.stun.turn.allocations import Transport
from parley.stun.turn.events import Allocated, ChannelBound, Permitted, Released
from parley.stun.turn.table import Quotas
from tests.support.turn import CLIENT, FakeClient, FakePorts, Rig

HOSTS = ["8.8.8.8", "8.8.4.4", "2600::1", "10.0.0.1", "203.0.113.1"]
CLIENTS = 3
clients = st.integers(0, CLIENTS - 1)
peers = st.builds(Address, st.sampled_from(HOSTS), st.sampled_from([22, 50001]))


class ClientsAndServer(RuleBasedStateMachine):
    """Three clients, few ports, and a model of which peers each may reach until when."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(quotas=Quotas(per_user=2, permissions=3, channels=2), ports=FakePorts(50000, 50003))
        self.clients = [self.new(number) for number in range(CLIENTS)]
        self.permitted: list[dict[str, float]] = [{} for _ in range(CLIENTS)]
        self.bound: list[dict[Address, float]] = [{} for _ in range(CLIENTS)]

    def new(self, number: int) -> FakeClient:
        transport = (Transport.UDP, Transport.TCP, Transport.DTLS)[number]
        return self.rig.client(Address(CLIENT.host, 40000 + number), transport=transport)

    @rule(number=clients, dual=st.booleans(), reserve=st.booleans(), lifetime=st.sampled_from([None, 0, 3600]))
    def allocate(self, number: int, dual: bool, reserve: bool, lifetime: int | None) -> None:
        (event,) = self.clients[number].allocate(dual=dual, reserve=reserve, lifetime=lifetime)
        if isinstance(event, Allocated):
            self.permitted[number].clear()
            self.bound[number].clear()
            assert not self.clients[number].allocation.permissions

    @rule(number=clients, host=st.sampled_from(HOSTS))
    def permit(self, number: int, host: str) -> None:
        if any(isinstance(event, Permitted) for event in self.clients[number].permit(host)):
            self.permitted[number][host] = self.rig.now + 300

    @rule(number=clients, peer=peers)
    def bind(self, number: int, peer: Address) -> None:
        if any(isinstance(event, ChannelBound) for event in self.clients[number].bind(peer)):
            self.permitted[number][peer.host] = self.rig.now + 300
            self.bound[number][peer] = self.rig.now + 600

    @rule(number=clients)
    def release(self, number: int) -> None:
        client = self.clients[number]
        had = self.rig.table.at(client.flow) is not None
        client.core.release(self.rig.now)
        assert any(isinstance(event, Released) for event in client.exchange()) is had
        self.clients[number] = self.new(number)

    @rule(number=clients, lifetime=st.sampled_from([None, 3600]))
    def refresh(self, number: int, lifetime: int | None) -> None:
        client = self.clients[number]
        client.core.refresh(self.rig.now, lifetime)
        client.exchange()

    @rule(number=clients)
    def disconnect(self, number: int) -> None:
        self.rig.server.closed(self.clients[number].flow, self.rig.now)
        self.clients[number] = self.new(number)

    @rule(seconds=st.sampled_from([1, 31, 200, 299, 301, 601]))
    def pass_time(self, seconds: int) -> None:
        """On the server alone: the clients are asleep, so what they were given ends."""
        self.rig.now += seconds
        self.rig.server.expire(self.rig.now)

    @rule(number=clients, peer=peers, payload=st.binary(max_size=8))
    def exchange(self, number: int, peer: Address, payload: bytes) -> None:
        client = self.clients[number]
        if self.rig.table.at(client.flow) is None:
            return
        now = self.rig.now
        may = self.permitted[number].get(peer.host, 0) > now
        by_channel = self.bound[number].get(peer, 0) > now
        sent = client.send(peer, payload)
        if sent is not None:
            assert sent == (peer, payload)
            assert may or by_channel
            assert peer.host != "203.0.113.1" or peer.port == 50001
        assert bool(client.hear(peer, payload)) is (may or by_channel)

    @invariant()
    def no_port_leaks(self) -> None:
        held = {relay for relay, _ in self.rig.server.reservations._held.values()}
        used = {relay for allocation in self.rig.table for relay in allocation.relays}
        assert self.rig.ports.open_relays == held | used
        assert not held & used
        assert self.rig.plane.allocations == set(self.rig.table)
        assert len(self.rig.table) <= 2

    @invariant()
    def everything_is_told_once(self) -> None:
        closed = [allocation for allocation, _ in self.rig.observer.closed_]
        assert len(closed) == len(set(closed))
        assert set(self.rig.observer.opened_) == set(closed) | set(self.rig.table)

    @invariant()
    def nobody_from_within_is_reached(self) -> None:
        for allocation in self.rig.table:
            assert "10.0.0.1" not in allocation.permissions

    def teardown(self) -> None:
        self.rig.now += 10_000
        self.rig.server.expire(self.rig.now)
        assert not self.rig.ports.open_relays


TestClientsAndServer = ClientsAndServer.TestCase
TestClientsAndServer.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
