"""The MS-TURN server against a scripted client, without sockets."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.mras.credentials import MrasCredentials
from parley.mras.tokens import Issued, Tokens
from parley.stun.addresses import Address, Family
from parley.stun.ms import forwarding
from parley.stun.ms.client import Allocated, Carriage, DestinationSet, Event, Failed, MsClientError, MsTurnClient, PeerData
from parley.stun.ms.codes import MsAttribute, MsErrorCode, MsType
from parley.stun.ms.framing import FrameReader, FrameType, encode_frame
from parley.stun.ms.integrity import integrity_is_right, integrity_key, protect
from parley.stun.ms.message import MsMessage
from parley.stun.ms.pseudo_tls import CLIENT_HELLO_SIZE, is_client_hello, server_hello
from parley.stun.ms.server import MsTurnServer
from parley.stun.turn.allocations import Allocation, Channel, Dialect, Flow, Relay, Traffic, Transport
from parley.stun.turn.config import TurnConfig
from parley.stun.turn.forwarding import Outgoing
from parley.stun.turn.observer import CloseReason
from parley.stun.turn.peers import PeerPolicy
from parley.stun.turn.plane import NoPortLeft
from parley.stun.turn.table import AllocationTable, Quotas

UNIX = 1_790_000_000.0
SERVER = Address("203.0.113.1", 3478)
CLIENT = Address("192.0.2.7", 40_000)
PEER = Address("8.8.8.8", 7000)
OTHER = Address("9.9.9.9", 9000)
REALM = "example.org"


@dataclass
class Allow:
    allowed: bool = True

    def allow(self, key: str, now: float) -> bool:
        return self.allowed


@dataclass
class World:
    """Everything around the server, which it also is to itself: ports, plane, observer, shell."""

    quotas: Quotas = field(default_factory=Quotas)
    now: float = 1000.0
    unix: float = UNIX
    ports_left: int = 100
    log: list[tuple[object, ...]] = field(default_factory=list)
    sent: list[tuple[Address, bytes]] = field(default_factory=list)
    stats: dict[int, Traffic] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = Tokens([bytes(range(32))])
        self.policy = PeerPolicy(own=["203.0.113.1"], relay_ports=range(50_000, 60_000))
        self.config = TurnConfig(realm=REALM, nonce_key=bytes(32), peers=self.policy)
        self.challenges = Allow()
        self.ports = Ports(self)
        self.plane = Plane(self)
        self.table = AllocationTable(self.quotas, self.plane, self)
        self.server = MsTurnServer(
            self.config, MrasCredentials(self.tokens, grace_s=3600), self.ports, self.plane, self.table, self, self,
            wall=lambda: self.unix, challenges=self.challenges,
        )  # fmt: skip

    def issue(self, user: str = "sip:alice@example.org", *, seconds: float = 28_800) -> Issued:
        return self.tokens.issue(user, self.unix + seconds)

    def transmit(self, allocation: Allocation, outgoing: Outgoing) -> None:
        assert outgoing[0] in allocation.relays
        self.sent.append((outgoing[1], outgoing[2]))

    def opened(self, allocation: Allocation) -> None:
        self.log.append(("opened", allocation.user))

    def refreshed(self, allocation: Allocation) -> None:
        self.log.append(("refreshed", allocation.user))

    def closed(self, allocation: Allocation, reason: CloseReason) -> None:
        self.log.append(("closed", reason))

    def refused(self, flow: Flow, dialect: Dialect, method: int, code: int) -> None:
        assert dialect is Dialect.MS_TURN
        self.log.append(("refused", method, int(code)))


@dataclass
class Ports:
    world: World
    next: int = 50_000

    def open(self, family: Family, *, stream: bool, even: bool = False, port: int = 0) -> Relay:
        if not self.world.ports_left:
            raise NoPortLeft("none")
        self.world.ports_left -= 1
        self.next += 1
        return Relay(Address("203.0.113.1", self.next), Address("10.0.0.1", self.next), stream, None)

    def close(self, relay: Relay) -> None:
        raise AssertionError("relays belong to the plane")


@dataclass
class Plane:
    world: World

    def open(self, allocation: Allocation) -> None:
        self.world.stats[allocation.number] = Traffic()

    def permit(self, allocation: Allocation, host: str) -> None:
        self.world.log.append(("permit", host))

    def bind(self, allocation: Allocation, channel: Channel) -> None:
        raise AssertionError("there are no channels")

    def set_destination(self, allocation: Allocation, previous: Address | None) -> None:
        self.world.log.append(("destination", allocation.destination, previous))

    def retire(self, allocation: Allocation, relay: Relay) -> None:
        raise AssertionError("there is one relay alone")

    def traffic(self, allocation: Allocation) -> Traffic:
        return self.world.stats[allocation.number]

    def close(self, allocation: Allocation) -> None:
        del self.world.stats[allocation.number]


class Session:
    """A client on one five-tuple."""

    def __init__(self, world: World, *, issued: Issued | None = None, flow: Flow | None = None) -> None:
        self.world = world
        self.flow = flow or Flow(Transport.UDP, CLIENT, SERVER)
        self.issued = issued or world.issue()
        stream = self.flow.transport.is_stream
        self.client = MsTurnClient(
            self.issued.username, self.issued.password, Carriage.FRAMES if stream else Carriage.DATAGRAMS
        )
        self.answers: list[bytes] = []

    @property
    def allocation(self) -> Allocation:
        found = self.world.table.at(self.flow)
        assert found is not None
        return found

    @property
    def key(self) -> bytes:
        return integrity_key(self.issued.username, REALM, self.issued.password)

    def run(self) -> list[Event]:
        """Carries messages both ways until nobody has any."""
        events: list[Event] = []
        while out := self.client.outgoing():
            for data in out:
                events += self._pass(data)
        return events

    def _pass(self, data: bytes) -> list[Event]:
        stream = self.flow.transport.is_stream
        messages = [frame.payload for frame in FrameReader().feed(data)] if stream else [data]
        events: list[Event] = []
        for message in messages:
            answer = self.world.server.receive(self.flow, message, self.world.now)
            if answer is not None:
                self.answers.append(answer)
                events += self.client.receive(encode_frame(FrameType.CONTROL, answer) if stream else answer)
        return events

    def allocate(self, lifetime: int | None = None) -> Event:
        self.client.allocate(lifetime)
        (event,) = self.run()
        return event

    def raw(self, message: MsMessage, *, key: bytes | None = None) -> MsMessage | None:
        data = bytes(message) if key is None else protect(message, key)
        answer = self.world.server.receive(self.flow, data, self.world.now)
        return None if answer is None else MsMessage.parse(answer)


def signed(session: Session, *, nonce: bytes | None = None, realm: bytes = REALM.encode()) -> MsMessage:
    """An Allocate with all that it needs."""
    challenge = session.raw(MsMessage(MsType.ALLOCATE))
    assert challenge is not None
    given_ = nonce if nonce is not None else challenge.get(MsAttribute.NONCE) or b""
    message = MsMessage(MsType.ALLOCATE).add(MsAttribute.NONCE, given_).add(MsAttribute.REALM, realm)
    return message.add(MsAttribute.USERNAME, session.issued.username)


def test_an_allocation_is_made_after_one_challenge() -> None:
    world = World()
    session = Session(world)
    event = session.allocate()
    assert event == Allocated(Address("203.0.113.1", 50_001), CLIENT, 600)
    challenge, answer = (MsMessage.parse(data) for data in session.answers)
    assert challenge.error_code == (401, "Unauthorized")
    assert [kind for kind, _ in challenge.attributes] == [0x0009, 0x8008, 0x0014, 0x0015]
    assert [kind for kind, _ in answer.attributes] == [0x0001, 0x000D, 0x0010, 0x8020, 0x8008, 0x8050]
    assert answer.get_int(MsAttribute.BANDWIDTH) == 750
    assert answer.sequence == (session.allocation.connection_id, 0)
    assert session.allocation.dialect is Dialect.MS_TURN
    assert session.allocation.kept_by_traffic
    assert world.log[-1][0] == "opened"


@pytest.mark.parametrize(("asked", "granted"), [(None, 600), (60, 600), (1200, 1200), (90_000, 3600)])
def test_lifetimes(asked: int | None, granted: int) -> None:
    session = Session(World())
    event = session.allocate(asked)
    assert isinstance(event, Allocated)
    assert event.lifetime == granted


def test_a_second_allocate_refreshes_and_one_with_no_lifetime_releases() -> None:
    world = World()
    session = Session(world)
    first = session.allocate()
    world.now += 540
    assert session.allocate() == first
    assert session.allocation.expires_at == world.now + 600
    assert world.log[-1][0] == "refreshed"
    released = session.allocate(0)
    assert released == Allocated(None, None, 0)
    assert world.log[-1] == ("closed", CloseReason.RELEASED)
    assert session.allocate(0) == Failed(437, protected=True)


def test_a_repeated_request_gets_the_same_answer_and_no_second_allocation() -> None:
    world = World()
    session = Session(world)
    data = protect(signed(session), session.key)
    first = world.server.receive(session.flow, data, world.now)
    again = world.server.receive(session.flow, data, world.now + 4)
    assert first is not None
    assert first == again
    assert [entry[0] for entry in world.log].count("opened") == 1
    assert "refreshed" not in [entry[0] for entry in world.log]
    later = world.server.receive(session.flow, data, world.now + 6)
    assert later is not None
    assert world.log[-1][0] == "refreshed"


def test_traffic_alone_keeps_an_allocation() -> None:
    world = World()
    session = Session(world)
    session.allocate()
    traffic = world.stats[session.allocation.number]
    for _ in range(3):
        traffic.received_packets += 1
        world.now += 601
        world.table.expire(world.now)
        assert len(world.table) == 1
    world.now += 601
    world.table.expire(world.now)
    assert len(world.table) == 0
    assert world.log[-1] == ("closed", CloseReason.EXPIRED)


def test_send_permits_and_is_never_answered() -> None:
    world = World()
    session = Session(world)
    session.allocate()
    session.answers.clear()
    world.now += 300
    session.client.send(PEER, b"hello")
    (data,) = session.client.outgoing()
    assert forwarding.from_send(session.allocation, data, world.policy, world.now) is None  # there is no permission yet
    assert world.server.receive(session.flow, data, world.now) is None
    assert world.sent == [(PEER, b"hello")]
    assert world.log[-1] == ("permit", PEER.host)
    assert session.allocation.expires_at == world.now + 600
    outgoing = forwarding.from_send(session.allocation, data, world.policy, world.now)
    assert outgoing == (session.allocation.relays[0], PEER, b"hello")


@pytest.mark.parametrize(
    "wrong", ["key", "no destination", "no data", "no integrity", "ipv6", "denied", "our own service", "cut"]
)
def test_a_wrong_send_is_dropped_in_silence(wrong: str) -> None:
    world = World()
    session = Session(world)
    session.allocate()
    peers = {"ipv6": Address("2001:4860::1", 1), "denied": Address("10.0.0.5", 80), "our own service": SERVER}
    message = MsMessage(MsType.SEND).add(MsAttribute.USERNAME, session.issued.username)
    if wrong != "no destination":
        message.add_address(MsAttribute.DESTINATION_ADDRESS, peers.get(wrong, PEER))
    if wrong != "no data":
        message.add(MsAttribute.DATA, b"x")
    data = protect(message, bytes(16) if wrong == "key" else session.key)
    if wrong == "no integrity":
        data = bytes(message)
    if wrong == "cut":
        data = data[:-1]
    assert world.server.receive(session.flow, data, world.now) is None
    assert world.sent == []
    assert session.allocation.permissions == {}
    assert world.log[-1][0] == "refused"


def test_packets_of_peers_come_in_indications_and_bare_from_the_active_destination() -> None:
    world = World()
    session = Session(world)
    session.allocate()
    now = world.now
    assert forwarding.to_client(session.allocation, PEER, b"early", now, framed=False) is None
    assert forwarding.from_raw(session.allocation, b"early", now) is None
    session.client.send(OTHER, b"one")
    session.client.send(PEER, b"two")
    assert session.run() == []
    arrived = forwarding.to_client(session.allocation, PEER, b"hi", now, framed=False)
    assert arrived is not None
    assert session.client.receive(arrived) == [PeerData(PEER, b"hi", bare=False)]
    session.client.set_destination(PEER)
    assert session.run() == [DestinationSet(PEER)]
    assert world.log[-1:] == [("destination", PEER, None)]
    assert forwarding.from_raw(session.allocation, b"raw", now) == (session.allocation.relays[0], PEER, b"raw")
    assert forwarding.to_client(session.allocation, PEER, b"raw", now, framed=False) == b"raw"
    beside = forwarding.to_client(session.allocation, OTHER, b"hi", now, framed=False)
    assert beside is not None
    assert session.client.receive(beside) == [PeerData(OTHER, b"hi", bare=False)]
    session.client.set_destination(OTHER)
    assert session.run() == [DestinationSet(OTHER)]
    assert world.log[-1:] == [("destination", OTHER, PEER)]
    late = forwarding.to_client(session.allocation, PEER, b"late", now, framed=False)
    assert late is not None
    assert session.client.receive(late) == [PeerData(PEER, b"late", bare=False)]


def test_the_answer_to_set_active_destination_repeats_the_sequence_number() -> None:
    world = World()
    session = Session(world)
    session.allocate()
    session.client.set_destination(PEER)
    session.run()
    answer = MsMessage.parse(session.answers[-1])
    assert answer.kind == MsType.SET_ACTIVE_DESTINATION_RESPONSE
    assert answer.sequence == (session.allocation.connection_id, 1)
    assert integrity_is_right(answer, session.key)


@pytest.mark.parametrize(
    ("wrong", "code", "protected"),
    [
        ("no allocation", 437, False), ("no integrity", 401, False), ("key", 431, False), ("username", 441, True),
        ("no destination", 400, True), ("bad destination", 400, True), ("denied", 403, True), ("unknown", 420, True),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_destination(wrong: str, code: int, protected: bool) -> None:
    world = World()
    session = Session(world)
    if wrong != "no allocation":
        session.allocate()
    message = MsMessage(MsType.SET_ACTIVE_DESTINATION)
    message.add(MsAttribute.USERNAME, b"other" if wrong == "username" else session.issued.username)
    if wrong == "bad destination":
        message.add(MsAttribute.DESTINATION_ADDRESS, b"bad")
    elif wrong != "no destination":
        message.add_address(MsAttribute.DESTINATION_ADDRESS, Address("10.0.0.1", 80) if wrong == "denied" else PEER)
    if wrong == "unknown":
        message.add(0x7777, b"")
    answer = session.raw(message, key=None if wrong == "no integrity" else bytes(16) if wrong == "key" else session.key)
    assert answer is not None
    assert answer.kind == MsType.SET_ACTIVE_DESTINATION_ERROR
    assert answer.error_code is not None
    assert answer.error_code[0] == code
    assert integrity_is_right(answer, session.key) is protected
    assert wrong == "no allocation" or session.allocation.destination is None


def without(message: MsMessage, kind: int) -> MsMessage:
    message.attributes = [(found, value) for found, value in message.attributes if found != kind]
    return message


@pytest.mark.parametrize(
    ("wrong", "code"),
    [("username", 432), ("realm", 434), ("nonce", 435), ("stale", 438), ("unknown", 436), ("key", 431), ("lifetime", 400)],
)
def test_what_is_wrong_with_credentials(wrong: str, code: int) -> None:
    world = World()
    session = Session(world)
    message = signed(session, nonce=b"n" * 30 if wrong == "stale" else None)
    if wrong in ("username", "realm", "nonce"):
        without(message, MsAttribute[wrong.upper()])
    if wrong == "unknown":
        without(message, MsAttribute.USERNAME).add(MsAttribute.USERNAME, b"somebody")
    if wrong == "lifetime":
        message.add(MsAttribute.LIFETIME, b"\1")
    answer = session.raw(message, key=bytes(16) if wrong == "key" else session.key)
    assert answer is not None
    assert answer.error_code is not None
    assert answer.error_code[0] == code
    assert integrity_is_right(answer, session.key) is (code == 400)
    assert (answer.get(MsAttribute.NONCE) is not None) is (code in (432, 434, 435, 438))
    assert len(world.table) == 0


def test_a_client_comes_over_a_stale_nonce() -> None:
    world = World()
    session = Session(world)
    session.allocate()
    world.unix += 3600
    assert isinstance(session.allocate(), Allocated)
    assert world.log[-2] == ("refused", MsType.ALLOCATE, 438)


def test_attributes_that_must_be_understood_are_named() -> None:
    session = Session(World())
    answer = session.raw(signed(session).add(0x7001, b"").add(0x7002, b""), key=session.key)
    assert answer is not None
    assert answer.error_code == (420, "Unknown attribute")
    assert answer.get(MsAttribute.UNKNOWN_ATTRIBUTES) == bytes.fromhex("70017002")
    assert integrity_is_right(answer, session.key)


def test_expired_credentials_open_nothing_and_keep_what_is_open() -> None:
    world = World()
    issued = world.issue(seconds=600)
    session = Session(world, issued=issued)
    session.allocate()
    world.unix += 600 + 3599  # within grace
    second = Session(world, issued=issued, flow=Flow(Transport.UDP, Address("192.0.2.8", 1), SERVER))
    assert isinstance(second.allocate(), Allocated)
    world.unix += 2
    third = Session(world, issued=issued, flow=Flow(Transport.UDP, Address("192.0.2.9", 1), SERVER))
    assert third.allocate() == Failed(430, protected=True)
    assert isinstance(session.allocate(), Allocated)


def test_another_user_on_the_same_five_tuple() -> None:
    world = World()
    Session(world).allocate()
    other = Session(world, issued=world.issue("sip:bob@example.org"))
    assert other.allocate() == Failed(441, protected=True)


def test_quota_and_ports() -> None:
    world = World(quotas=Quotas(per_user=1))
    Session(world).allocate()
    second = Session(world, flow=Flow(Transport.UDP, Address("192.0.2.8", 1), SERVER), issued=world.issue(seconds=9_000))
    assert second.allocate() == Failed(486, protected=True)
    world.ports_left = 0
    third = Session(world, flow=second.flow, issued=world.issue("sip:bob@example.org"))
    assert third.allocate() == Failed(508, protected=True)


def test_while_draining_new_clients_are_sent_elsewhere() -> None:
    world = World()
    old = Session(world)
    old.allocate()
    world.server.drain("203.0.113.2")
    assert isinstance(old.allocate(), Allocated)
    new = Session(world, flow=Flow(Transport.UDP, Address("192.0.2.8", 1), SERVER))
    assert new.allocate() == Failed(300, protected=True, alternate=Address("203.0.113.2", 3478))
    world.server.drain()
    assert new.allocate() == Failed(508, protected=True)
    world.server.resume()
    assert isinstance(new.allocate(), Allocated)


def test_challenges_are_limited() -> None:
    world = World()
    world.challenges.allowed = False
    session = Session(world)
    assert session.raw(MsMessage(MsType.ALLOCATE)) is None
    assert world.log[-1] == ("refused", MsType.ALLOCATE, 0)


def test_permissions_are_limited() -> None:
    world = World(quotas=Quotas(permissions=1))
    session = Session(world)
    session.allocate()
    session.client.send(PEER, b"a")
    session.client.send(OTHER, b"b")
    session.run()
    assert world.sent == [(PEER, b"a")]


@pytest.mark.parametrize("kind", [MsType.DATA, MsType.ALLOCATE_RESPONSE, 0x0002, 0x0104])
def test_what_a_client_must_not_send_gets_no_answer(kind: int) -> None:
    assert Session(World()).raw(MsMessage(kind)) is None


def test_a_stream_has_its_allocation_until_it_is_closed() -> None:
    world = World()
    session = Session(world, flow=Flow(Transport.TCP, CLIENT, SERVER))
    assert isinstance(session.allocate(), Allocated)
    assert not session.allocation.relays[0].stream
    session.client.send(PEER, b"hello")
    session.client.set_destination(PEER)
    assert session.run() == [DestinationSet(PEER)]
    arrived = forwarding.to_client(session.allocation, PEER, b"raw", world.now, framed=True)
    assert arrived == b"\3\0\0\3raw"
    assert session.client.receive(arrived) == [PeerData(PEER, b"raw", bare=True)]
    world.server.closed(session.flow, world.now)
    assert world.log[-1] == ("closed", CloseReason.DISCONNECTED)
    world.server.closed(session.flow, world.now)


def test_behind_pseudo_tls_a_client_waits_for_the_hello() -> None:
    client = MsTurnClient(b"user", b"pass", Carriage.PSEUDO_TLS)
    client.allocate()
    (hello,) = client.outgoing()
    assert is_client_hello(hello)
    assert len(hello) == CLIENT_HELLO_SIZE
    answer = server_hello(bytes(32), bytes(32))
    assert client.receive(answer[:40]) == []
    assert client.outgoing() == []
    assert client.receive(answer[40:]) == []
    (frame,) = client.outgoing()
    assert frame[:2] == b"\2\0"
    with pytest.raises(MsClientError, match="another hello"):
        MsTurnClient(b"user", b"pass", Carriage.PSEUDO_TLS).receive(bytes(83))


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_the_fast_reading_of_a_send_agrees_with_the_parser(payload: bytes, altered: bytes) -> None:
    key = bytes(16)
    data = protect(
        MsMessage(MsType.SEND).add_address(MsAttribute.DESTINATION_ADDRESS, PEER).add(MsAttribute.DATA, payload), key
    )
    assert forwarding.read_send(data, key) == (PEER, payload)
    broken = data[:28] + altered + data[28 + len(altered) :]
    found = forwarding.read_send(broken, key)
    assert found is None or broken == data


def test_error_codes_have_phrases() -> None:
    assert all(code.reason for code in MsErrorCode)
