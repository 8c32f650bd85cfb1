"""The native packet path does with every datagram what `parley.stun.turn.forwarding` says, on real sockets."""

import importlib.metadata
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.stun.addresses import Address
from parley.stun.channel_data import encode_channel_data
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.message import Message
from parley.stun.ms import forwarding as ms_forwarding
from parley.stun.ms.codes import MsAttribute, MsType
from parley.stun.ms.integrity import protect
from parley.stun.ms.message import MsMessage, is_ms_message
from parley.stun.turn import forwarding
from parley.stun.turn.allocations import Allocation, Channel, Dialect, Flow, Relay, Transport
from parley.stun.turn.peers import PeerPolicy

CHANNEL = 0x4001
SENTINEL = b"the last of it"
KEY = b"0123456789abcdef"
LASTS = 60.0


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def receive(sock: socket.socket, timeout: float = 5.0) -> bytes:
    assert select.select([sock], [], [], timeout)[0], "nothing came"
    return sock.recv(65536)


def is_silent(sock: socket.socket) -> bool:
    return not select.select([sock], [], [], 0.1)[0]


class Bench:
    """One listener with a client, its relay and two peers, of which the first is permitted and has a channel."""

    def __init__(self, *, ms: bool = False, rate: float = 0.0, segmentation: bool = True) -> None:
        module = pytest.importorskip("parley_relay", reason="the native packet path is not built")
        self.thread: Any = module.RelayThread([], [], (1024, 65535), segmentation)
        self.server, self.relay, self.client, self.peer, self.stranger = (udp() for _ in range(5))
        self.client.connect(self.server.getsockname())
        self.listener = self.thread.listen(self.server.fileno())
        self.expires_at = time.monotonic() + LASTS
        relays = [(self.relay.fileno(), *self.relay.getsockname(), False)]
        self.number = self.thread.open(self.listener, self.client.getsockname(), KEY if ms else None, relays, rate)
        self.to = Address(*self.peer.getsockname())
        self.thread.permit(self.number, self.to.host, self.expires_at)
        if not ms:
            self.thread.bind(self.number, CHANNEL, self.to, self.expires_at)
        self.allocation = self._as_python_has_it(ms)

    def _as_python_has_it(self, ms: bool) -> Allocation:
        local = Address(*self.relay.getsockname())
        flow = Flow(Transport.UDP, Address(*self.client.getsockname()), Address(*self.server.getsockname()))
        dialect = Dialect.MS_TURN if ms else Dialect.TURN
        allocation = Allocation(
            1, flow, dialect, "name", KEY, (Relay(local, local, False, self.relay),), 0.0, self.expires_at
        )
        allocation.permissions[self.to.host] = self.expires_at
        allocation.channels[CHANNEL] = Channel(CHANNEL, self.to, self.expires_at)
        return allocation

    def traffic(self) -> tuple[int, ...]:
        """Packets and bytes to peers, packets and bytes to the client, dropped packets."""
        return tuple(self.thread.traffic(self.number)[:5])

    def control(self) -> list[bytes]:
        return [data for _, _, _, data in self.thread.take_control()]

    def until_sentinel(self) -> list[bytes]:
        """What the peer gets of what the client has sent so far."""
        self.client.send(encode_channel_data(CHANNEL, SENTINEL, padded=False))
        got: list[bytes] = []
        while (data := receive(self.peer)) != SENTINEL:
            got.append(data)
        return got

    def close(self) -> None:
        self.thread.stop()
        for sock in (self.server, self.relay, self.client, self.peer, self.stranger):
            sock.close()


@pytest.fixture
def turn() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def ms_turn() -> Iterator[Bench]:
    bench = Bench(ms=True)
    yield bench
    bench.close()


def send_indication(to: Address, payload: bytes) -> Message:
    indication = Message(Method.SEND, MessageClass.INDICATION)
    return indication.add_xor_address(Attribute.XOR_PEER_ADDRESS, to).add(Attribute.DATA, payload)


def test_channel_data_passes_both_ways_and_is_counted(turn: Bench) -> None:
    turn.client.send(encode_channel_data(CHANNEL, b"to you", padded=True))
    assert receive(turn.peer) == b"to you"
    turn.peer.sendto(b"and back", turn.relay.getsockname())
    assert receive(turn.client) == encode_channel_data(CHANNEL, b"and back", padded=False)
    assert turn.traffic() == (1, 6, 1, 8, 0)


def test_a_peer_without_channel_comes_as_data_indication(turn: Bench) -> None:
    turn.stranger.sendto(b"hello", turn.relay.getsockname())
    indication = Message.parse(receive(turn.client))
    assert (indication.method, indication.message_class) == (Method.DATA, MessageClass.INDICATION)
    assert indication.get_xor_address(Attribute.XOR_PEER_ADDRESS) == turn.stranger.getsockname()
    assert indication.get(Attribute.DATA) == b"hello"


def test_a_permission_ends_and_with_it_the_packets(turn: Bench) -> None:
    turn.thread.permit(turn.number, turn.to.host, time.monotonic() - 1)
    turn.stranger.sendto(b"hello", turn.relay.getsockname())
    turn.client.send(bytes(send_indication(Address(*turn.stranger.getsockname()), b"hello")))
    assert is_silent(turn.client)
    assert is_silent(turn.stranger)
    assert turn.traffic() == (0, 0, 0, 0, 2)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_a_client_sends_goes_where_the_reference_says(turn: Bench, data: st.DataObject) -> None:
    kinds = st.sampled_from([*Attribute, 0x7FFF, 0xC001])
    extra = data.draw(st.lists(st.tuples(kinds, st.binary(max_size=24)), max_size=3))
    indication = send_indication(turn.to, data.draw(st.binary(min_size=1, max_size=40)))
    indication.attributes = data.draw(st.permutations([*indication.attributes, *extra]))
    channel = data.draw(st.sampled_from([CHANNEL, 0x4002]))
    whole = [bytes(indication), encode_channel_data(channel, data.draw(st.binary(min_size=1, max_size=40)), padded=True)]
    packet = bytearray(data.draw(st.sampled_from(whole)))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(packet) - 1), st.integers(0, 255)), max_size=2)):
        packet[at] = value
    sent = bytes(packet[: data.draw(st.sampled_from([len(packet), data.draw(st.integers(1, len(packet)))]))])

    now = time.monotonic()
    expected, is_control = None, False
    if 0x40 <= sent[0] < 0x80:
        expected = forwarding.from_channel(turn.allocation, sent, now)
    elif sent[:2] == forwarding.SEND_INDICATION:
        expected = forwarding.from_indication(turn.allocation, sent, PeerPolicy(["0.0.0.0/0"]), now)
    else:
        is_control = True
    before = turn.traffic()
    turn.client.send(sent)
    got = turn.until_sentinel()
    assert turn.control() == ([sent] if is_control else [])
    assert got == ([expected[2]] if expected is not None and expected[1] == turn.to else [])
    after = turn.traffic()
    assert after[0] - before[0] == 1 + (expected is not None)
    assert after[4] - before[4] == (expected is None and not is_control)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_a_client_of_ms_turn_sends_goes_where_the_reference_says(ms_turn: Bench, data: st.DataObject) -> None:
    ms_turn.thread.set_destination(ms_turn.number, ms_turn.to)
    ms_turn.allocation.destination = ms_turn.to
    extra = data.draw(st.lists(st.tuples(st.sampled_from([*MsAttribute, 0x7FFF]), st.binary(max_size=24)), max_size=3))
    message = MsMessage(MsType.SEND).add_address(MsAttribute.DESTINATION_ADDRESS, ms_turn.to)
    message.add(MsAttribute.DATA, data.draw(st.binary(min_size=1, max_size=40)))
    message.attributes = data.draw(st.permutations([*message.attributes, *extra]))
    packet = bytearray(data.draw(st.sampled_from([protect(message, KEY), data.draw(st.binary(min_size=1, max_size=60))])))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(packet) - 1), st.integers(0, 255)), max_size=2)):
        packet[at] = value
    sent = bytes(packet)

    now = time.monotonic()
    expected, is_control = None, False
    if not is_ms_message(sent):
        expected = ms_forwarding.from_raw(ms_turn.allocation, sent, now)
    elif sent[:2] == ms_forwarding.SEND_REQUEST:
        asked = ms_forwarding.read_send(sent, KEY)
        is_control = asked is not None and asked.peer.host != ms_turn.to.host
        expected = ms_forwarding.from_send(ms_turn.allocation, sent, PeerPolicy(["0.0.0.0/0"]), now)
    else:
        is_control = True
    before = ms_turn.traffic()
    ms_turn.client.send(sent)
    ms_turn.client.send(SENTINEL)
    got: list[bytes] = []
    while (payload := receive(ms_turn.peer)) != SENTINEL:
        got.append(payload)
    assert ms_turn.control() == ([sent] if is_control else [])
    assert got == ([expected[2]] if expected is not None and expected[1] == ms_turn.to else [])
    after = ms_turn.traffic()
    assert after[0] - before[0] == 1 + (expected is not None)
    assert after[4] - before[4] == (expected is None and not is_control)


def test_two_allocations_of_one_thread_need_no_network(turn: Bench) -> None:
    with udp() as client, udp() as relay:
        client.connect(turn.server.getsockname())
        known = Address("192.0.2.7", 50_000)  # nothing could be sent there
        other = turn.thread.open(turn.listener, client.getsockname(), None, [(relay.fileno(), *known, False)], 0.0)
        turn.thread.permit(turn.number, known.host, turn.expires_at)
        turn.thread.bind(other, 0x4005, turn.relay.getsockname(), turn.expires_at)
        turn.client.send(bytes(send_indication(known, b"inside")))
        assert receive(client) == encode_channel_data(0x4005, b"inside", padded=False)
        assert turn.traffic() == (1, 6, 0, 0, 0)
        assert turn.thread.close(other)[:5] == (0, 0, 1, 6, 0)


def test_more_than_the_rate_is_dropped() -> None:
    bench = Bench(rate=1000.0)
    try:
        for _ in range(10):
            bench.client.send(encode_channel_data(CHANNEL, bytes(100), padded=False))
        got = [receive(bench.peer) for _ in range(5)]
        assert got == [bytes(100)] * 5
        assert is_silent(bench.peer)
        assert bench.traffic()[4] == 5
    finally:
        bench.close()


@pytest.mark.parametrize("segmentation", [True, False])
def test_a_burst_arrives_whole_and_in_order(segmentation: bool) -> None:
    bench = Bench(segmentation=segmentation)
    try:
        payloads = [index.to_bytes(2, "big") * (50 if index % 7 else 20) for index in range(60)]
        for payload in payloads:
            bench.client.send(encode_channel_data(CHANNEL, payload, padded=False))
        assert [receive(bench.peer) for _ in payloads] == payloads
        for payload in payloads:
            bench.peer.sendto(payload, bench.relay.getsockname())
        assert [receive(bench.client)[4:] for _ in payloads] == payloads
    finally:
        bench.close()


def ms_send(to: Address, payload: bytes, key: bytes = KEY) -> bytes:
    message = MsMessage(MsType.SEND).add(MsAttribute.USERNAME, bytes(52)).add_address(MsAttribute.DESTINATION_ADDRESS, to)
    return protect(message.add(MsAttribute.DATA, payload), key)


def test_a_send_request_is_checked_and_an_unknown_peer_is_the_servers_business(ms_turn: Bench) -> None:
    ms_turn.client.send(ms_send(ms_turn.to, b"first"))
    assert receive(ms_turn.peer) == b"first"
    ms_turn.client.send(ms_send(ms_turn.to, b"forged", key=b"another"))
    assert is_silent(ms_turn.peer)
    asks = ms_send(Address("127.0.0.2", 9), b"may I")
    ms_turn.client.send(asks)
    assert select.select([ms_turn.thread.control_fd()], [], [], 5)[0]
    assert ms_turn.control() == [asks]


def test_peers_of_ms_turn_come_raw_or_as_data_indication(ms_turn: Bench) -> None:
    ms_turn.client.send(b"\x00\x01\x00\x00 no destination yet")
    assert is_silent(ms_turn.peer)
    ms_turn.thread.set_destination(ms_turn.number, ms_turn.to)
    looks_like_stun = bytes(Message(Method.BINDING, MessageClass.REQUEST))
    ms_turn.client.send(looks_like_stun)
    assert receive(ms_turn.peer) == looks_like_stun
    ms_turn.peer.sendto(b"raw", ms_turn.relay.getsockname())
    assert receive(ms_turn.client) == b"raw"
    ms_turn.stranger.sendto(b"wrapped", ms_turn.relay.getsockname())
    indication = MsMessage.parse(receive(ms_turn.client))
    assert indication.kind == MsType.DATA
    assert indication.get_address(MsAttribute.REMOTE_ADDRESS) == ms_turn.stranger.getsockname()
    assert indication.get(MsAttribute.DATA) == b"wrapped"


def test_what_is_closed_is_forgotten(turn: Bench) -> None:
    assert turn.thread.close(turn.number)[:5] == (0, 0, 0, 0, 0)
    with pytest.raises(KeyError):
        turn.thread.traffic(turn.number)
    turn.peer.sendto(b"late", turn.relay.getsockname())
    turn.client.send(encode_channel_data(CHANNEL, b"late", padded=False))
    assert is_silent(turn.client)
    assert turn.thread.drops()["not_relayed"] == 1
    assert turn.control() == []


def test_an_address_that_is_none_is_refused() -> None:
    module = pytest.importorskip("parley_relay", reason="the native packet path is not built")
    with pytest.raises(ValueError, match="not an IP address"):
        module.RelayThread([("here", "there")], [], (1, 2))
    assert importlib.metadata.version("parley_relay") == module.__version__
