"""A TURN server in memory: relay ports without sockets, a plane that keeps what it is given, and clients on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from parley.platform.limits import RateLimiter
from parley.stun.addresses import Address, Family
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.framing import StreamFramer
from parley.stun.integrity import integrity_is_right, integrity_sha256_is_right
from parley.stun.message import Message
from parley.stun.turn import forwarding
from parley.stun.turn.allocations import Allocation, Channel, Flow, Relay, Traffic, Transport
from parley.stun.turn.client import TurnClient
from parley.stun.turn.config import TurnConfig
from parley.stun.turn.credentials import ChainedCredentials, Credentials, StaticCredentials, TimeLimitedCredentials
from parley.stun.turn.events import ClientEvent
from parley.stun.turn.observer import CloseReason
from parley.stun.turn.peers import DENIED, PeerPolicy
from parley.stun.turn.plane import NoPortLeft
from parley.stun.turn.server import TurnServer
from parley.stun.turn.shell import PeerConnection
from parley.stun.turn.table import AllocationTable, Quotas
from parley.stun.turn.transactions import Session

REALM = "example.org"
USER, PASSWORD = "alice", "sesame"
SERVER = Address("203.0.113.1", 3478)
CLIENT = Address("198.51.100.7", 40000)
PEER = Address("8.8.4.4", 5000)
SECRET = b"a secret for names that end"
HOSTS = {Family.IPV4: "203.0.113.1", Family.IPV6: "2a00:1450::1"}
WALL = 1_750_000_000.0


class FakePorts:
    """Relay ports of a small range; what is open is in ``open_relays``."""

    def __init__(self, first: int = 50000, last: int = 50999) -> None:
        self.open_relays: set[Relay] = set()
        self.dont_fragment = False
        self._range = range(first, last + 1)

    def open(self, family: Family, *, stream: bool, even: bool = False, port: int = 0) -> Relay:
        """The lowest free port that will do."""
        taken = {relay.local.port for relay in self.open_relays if relay.family is family and relay.stream is stream}
        for number in [port] if port else self._range:
            if number in self._range and number not in taken and not (even and number % 2):
                address = Address(HOSTS[family], number)
                relay = Relay(address, address, stream, None, self.dont_fragment)
                self.open_relays.add(relay)
                return relay
        raise NoPortLeft("no relay port is left")

    def close(self, relay: Relay) -> None:
        """Gives one back; giving back what is not open is a fault."""
        self.open_relays.remove(relay)


class FakePlane:
    """A plane that moves nothing by itself."""

    def __init__(self, ports: FakePorts) -> None:
        self.allocations: set[Allocation] = set()
        self.told: list[tuple[str, object]] = []
        self._ports = ports

    def open(self, allocation: Allocation) -> None:
        """Keeps it."""
        assert not allocation.permissions
        self.allocations.add(allocation)

    def permit(self, allocation: Allocation, host: str) -> None:
        """Keeps what was told."""
        assert allocation in self.allocations
        assert host in allocation.permissions
        self.told.append(("permit", host))

    def bind(self, allocation: Allocation, channel: Channel) -> None:
        """Keeps what was told."""
        assert allocation.channels[channel.number] is allocation.channel_by_peer[channel.peer] is channel
        self.told.append(("bind", channel.number))

    def set_destination(self, allocation: Allocation, previous: Address | None) -> None:
        """Keeps what was told."""
        self.told.append(("destination", allocation.destination))

    def retire(self, allocation: Allocation, relay: Relay) -> None:
        """Closes one."""
        assert relay not in allocation.relays
        self._ports.close(relay)

    def traffic(self, allocation: Allocation) -> Traffic:
        """What tests have counted."""
        return allocation.traffic

    def close(self, allocation: Allocation) -> None:
        """Closes all."""
        self.allocations.remove(allocation)
        for relay in allocation.relays:
            self._ports.close(relay)


@dataclass
class Recorder:
    """An observer that remembers."""

    opened_: list[Allocation] = field(default_factory=list)
    refreshed_: list[Allocation] = field(default_factory=list)
    closed_: list[tuple[Allocation, CloseReason]] = field(default_factory=list)
    refused_: list[tuple[int, int]] = field(default_factory=list)

    def opened(self, allocation: Allocation) -> None:
        """Remembers it."""
        self.opened_.append(allocation)

    def refreshed(self, allocation: Allocation) -> None:
        """Remembers it."""
        self.refreshed_.append(allocation)

    def closed(self, allocation: Allocation, reason: CloseReason) -> None:
        """Remembers it."""
        self.closed_.append((allocation, reason))

    def refused(self, flow: Flow, dialect: object, method: int, code: int) -> None:
        """Remembers method and code."""
        self.refused_.append((method, code))


@dataclass
class FakeShell:
    """Sockets that are lists."""

    sent: deque[tuple[Flow, bytes]] = field(default_factory=deque)
    dialling: list[PeerConnection] = field(default_factory=list)
    spliced: list[tuple[PeerConnection, Flow]] = field(default_factory=list)
    hung_up: list[PeerConnection] = field(default_factory=list)

    def send(self, flow: Flow, data: bytes) -> None:
        """Keeps it."""
        self.sent.append((flow, data))

    def dial(self, connection: PeerConnection) -> None:
        """Keeps it."""
        self.dialling.append(connection)

    def splice(self, connection: PeerConnection, flow: Flow) -> None:
        """Keeps it."""
        self.spliced.append((connection, flow))

    def hang_up(self, connection: PeerConnection) -> None:
        """Keeps it."""
        self.hung_up.append(connection)


class Rig:
    """A server with its fakes, and a clock."""

    def __init__(
        self,
        config: TurnConfig | None = None,
        quotas: Quotas | None = None,
        credentials: Credentials | None = None,
        ports: FakePorts | None = None,
        challenges: RateLimiter | None = None,
    ) -> None:
        self.began = self.now = 1000.0
        self.wall_offset = WALL - self.now
        self.ports = ports or FakePorts()
        self.plane = FakePlane(self.ports)
        self.observer = Recorder()
        self.shell = FakeShell()
        self.table = AllocationTable(quotas or Quotas(), self.plane, self.observer)
        self.config = config or a_config()
        self.names = TimeLimitedCredentials([SECRET])
        self.server = TurnServer(
            self.config,
            credentials or ChainedCredentials(StaticCredentials({USER: PASSWORD, "bob": "other"}, REALM), self.names),
            self.ports,
            self.plane,
            self.table,
            self.observer,
            self.shell,
            wall=lambda: self.now + self.wall_offset,
            challenges=challenges or RateLimiter(1000, 1000),
        )
        self.clients: dict[Flow, FakeClient] = {}

    def client(
        self, address: Address = CLIENT, *, transport: Transport = Transport.UDP, session: Session | None = None
    ) -> FakeClient:
        """A client at an address."""
        return FakeClient(self, Flow(transport, address, SERVER), session or Session(USER, PASSWORD))

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, with everything that is due in it, on both sides."""
        until = self.now + seconds
        while True:
            deadline = min([self.server.expire(self.now), *(client.core.deadline for client in self.clients.values())])
            if deadline > until:
                break
            self.now = max(self.now, deadline)
            for client in list(self.clients.values()):
                client.core.expire(self.now)
                client.exchange()
        self.now = until
        self.server.expire(self.now)


class FakeClient:
    """A client whose messages reach the server at once, unless ``cut``."""

    def __init__(self, rig: Rig, flow: Flow, session: Session) -> None:
        self.rig = rig
        self.flow = flow
        self.core = TurnClient(session, stream=flow.transport.is_stream)
        self.cut = False
        self.last: bytes | None = None
        rig.clients[flow] = self

    def exchange(self) -> list[ClientEvent]:
        """Sends what is to be sent and takes the answers, until nothing moves; what happened."""
        while outgoing := self.core.take_outgoing():
            for data in outgoing:
                if not self.cut:
                    self.last = self.rig.server.receive(self.flow, data, self.rig.now)
                    if self.last is not None:
                        self.core.receive(self.last, self.rig.now)
        self._collect()
        return self.core.take_events()

    def _collect(self) -> None:
        """What the server has sent later."""
        for flow, data in [each for each in self.rig.shell.sent if each[0] == self.flow]:
            self.rig.shell.sent.remove((flow, data))
            framer = StreamFramer()
            framer.feed(data)
            for message in framer.messages():
                self.core.receive(message, self.rig.now)

    def allocate(self, **wish: Any) -> list[ClientEvent]:
        """Asks for an allocation."""
        self.core.allocate(self.rig.now, **wish)
        return self.exchange()

    def permit(self, *hosts: str) -> list[ClientEvent]:
        """Asks for permissions."""
        self.core.permit(hosts, self.rig.now)
        return self.exchange()

    def bind(self, peer: Address) -> list[ClientEvent]:
        """Asks for a channel."""
        self.core.bind_channel(peer, self.rig.now)
        return self.exchange()

    @property
    def allocation(self) -> Allocation:
        """The server's side of it."""
        found = self.rig.table.at(self.flow)
        assert found is not None
        return found

    def challenge(self) -> FakeClient:
        """Learns realm and nonce."""
        message = Message(Method.REFRESH, MessageClass.REQUEST)
        reply = self.rig.server.receive(self.flow, bytes(message), self.rig.now)
        assert reply is not None
        assert self.core.session.learn(Message.parse(reply))
        return self

    def ask(self, method: int, *attributes: tuple[int, bytes], peers: Sequence[Address] = ()) -> Message | None:
        """The response to a signed request of any making, None for none."""
        message = Message(method, MessageClass.REQUEST)
        for kind, value in attributes:
            message.add(kind, value)
        for peer in peers:
            message.add_xor_address(Attribute.XOR_PEER_ADDRESS, peer)
        reply = self.rig.server.receive(self.flow, self.core.session.sign(message), self.rig.now)
        return None if reply is None else Message.parse(reply)

    def code(self, method: int, *attributes: tuple[int, bytes], peers: Sequence[Address] = ()) -> int:
        """The error code of the response, which is protected; 0 for success."""
        response = self.ask(method, *attributes, peers=peers)
        assert response is not None
        key = self.core.session.key
        assert integrity_sha256_is_right(response, key) or integrity_is_right(response, key)
        return response.error_code[0] if response.error_code else 0

    def send(self, peer: Address, payload: bytes) -> tuple[Address, bytes] | None:
        """What the peer gets, if anything."""
        data = self.core.send(peer, payload)
        allocation, now = self.allocation, self.rig.now
        if data[0] >= 0x40:
            out = forwarding.from_channel(allocation, data, now)
        else:
            out = forwarding.from_indication(allocation, data, self.rig.config.peers, now)
        return None if out is None else (out[1], bytes(out[2]))

    def hear(self, peer: Address, payload: bytes) -> list[ClientEvent]:
        """What the client gets from a peer."""
        padded = self.flow.transport.is_stream
        data = forwarding.to_client(self.allocation, peer, payload, self.rig.now, padded=padded)
        if data is not None:
            self.core.receive(data, self.rig.now)
        return self.core.take_events()


def a_config(**changes: Any) -> TurnConfig:
    """Settings for tests."""
    settings: dict[str, Any] = {
        "realm": REALM,
        "nonce_key": bytes(32),
        "families": frozenset(Family),
        "peers": PeerPolicy(deny=DENIED, own=HOSTS.values(), relay_ports=range(50000, 51000)),
    }
    return TurnConfig(**(settings | changes))
