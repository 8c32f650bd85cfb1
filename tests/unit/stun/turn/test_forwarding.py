"""Single packets: where they go, and which are dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.stun.addresses import Address, unpack_ip
from parley.stun.channel_data import encode_channel_data
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.message import Message
from parley.stun.turn.allocations import Allocation, Channel, Dialect, Flow, Relay, Transport
from parley.stun.turn.forwarding import data_indication, from_channel, from_indication, to_client
from parley.stun.turn.peers import PeerPolicy

PEER4, PEER6 = Address("8.8.4.4", 5000), Address("2600::1", 6000)
RELAY4, RELAY6 = (
    Relay(address, address, False, None) for address in (Address("203.0.113.1", 50000), Address("2a00::1", 50000))
)
POLICY = PeerPolicy(own=["203.0.113.1"])
NOW = 100.0
hosts = st.binary(min_size=4, max_size=4).map(unpack_ip) | st.binary(min_size=16, max_size=16).map(unpack_ip)


def allocation(*relays: Relay, until: float = NOW + 1, peers: tuple[Address, ...] = (PEER4, PEER6)) -> Allocation:
    flow = Flow(Transport.UDP, Address("198.51.100.7", 1), Address("203.0.113.1", 3478))
    made = Allocation(1, flow, Dialect.TURN, "u", b"", relays or (RELAY4, RELAY6), 0.0, 600.0)
    made.permissions = {peer.host: until for peer in peers}
    return made


def with_channel(until: float = NOW + 1, peer: Address = PEER4) -> Allocation:
    made = allocation(until=0.0)
    made.channels[0x4001] = made.channel_by_peer[peer] = Channel(0x4001, peer, until)
    return made


def indication(*attributes: tuple[int, bytes], peer: Address | None = PEER4, data: bytes | None = b"hello") -> bytes:
    message = Message(Method.SEND, MessageClass.INDICATION, bytes(12))
    if peer is not None:
        message.add_xor_address(Attribute.XOR_PEER_ADDRESS, peer)
    if data is not None:
        message.add(Attribute.DATA, data)
    message.attributes.extend(attributes)
    return bytes(message)


@pytest.mark.parametrize(("peer", "relay"), [(PEER4, RELAY4), (PEER6, RELAY6)])
def test_from_a_channel(peer: Address, relay: Relay) -> None:
    made = with_channel(peer=peer)
    assert from_channel(made, encode_channel_data(0x4001, b"abc", padded=False), NOW) == (relay, peer, b"abc")
    assert from_channel(made, encode_channel_data(0x4001, b"abc", padded=True), NOW) == (relay, peer, b"abc")
    assert from_channel(made, encode_channel_data(0x4001, b"", padded=False), NOW) == (relay, peer, b"")


@pytest.mark.parametrize("data", [b"", b"\x40\x01\x00", b"\x40\x01\x00\x04abc", b"\x40\x02\x00\x03abc", b"\x00\x01\x00\x00"])
def test_channel_data_that_goes_nowhere(data: bytes) -> None:
    assert from_channel(with_channel(), data, NOW) is None


def test_a_channel_that_has_ended() -> None:
    made = with_channel(until=NOW)
    assert from_channel(made, b"\x40\x01\x00\x00", NOW) is None
    assert to_client(made, PEER4, b"x", NOW, padded=False) is None


@pytest.mark.parametrize(("peer", "relay"), [(PEER4, RELAY4), (PEER6, RELAY6)])
@pytest.mark.parametrize("size", range(6))
def test_from_an_indication(peer: Address, relay: Relay, size: int) -> None:
    payload = b"hello"[:size]
    assert from_indication(allocation(), indication(peer=peer, data=payload), POLICY, NOW) == (relay, peer, payload)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        indication()[:-1],
        indication() + b"\0\0\0\0",
        indication(data=None),
        indication(peer=None),
        indication(peer=Address("8.8.8.8", 1)),
        indication(peer=Address(PEER4.host, 0)),
        indication((Attribute.DONT_FRAGMENT, b"")),
        indication((0x7ABC, b"")),
        indication((Attribute.XOR_PEER_ADDRESS, b"\0\3\0\0\0\0\0\0"), peer=None),
        indication((Attribute.XOR_PEER_ADDRESS, b"\0\1\0\0"), peer=None),
        indication((Attribute.XOR_PEER_ADDRESS, bytes(20)), peer=None),
        indication((Attribute.XOR_PEER_ADDRESS, b""), peer=None),
        indication().replace(b"\x21\x12\xa4\x42", b"\x21\x12\xa4\x43"),
        indication()[:20] + b"\x00\x12\xff\xff" + indication()[24:],
    ],
)
def test_indications_that_go_nowhere(data: bytes) -> None:
    assert from_indication(allocation(), data, POLICY, NOW) is None


def test_an_indication_with_more_than_it_needs() -> None:
    data = indication((Attribute.SOFTWARE, b"x"), (Attribute.DATA, b"second"), (Attribute.FINGERPRINT, bytes(4)))
    assert from_indication(allocation(), data, POLICY, NOW) == (RELAY4, PEER4, b"hello")


def test_an_indication_without_a_relay_of_its_family() -> None:
    assert from_indication(allocation(RELAY4), indication(peer=PEER6), POLICY, NOW) is None


def test_what_must_not_be_fragmented() -> None:
    relay = Relay(RELAY4.advertised, RELAY4.local, False, None, dont_fragment=True)
    data = indication((Attribute.DONT_FRAGMENT, b""))
    assert from_indication(allocation(relay), data, POLICY, NOW) == (relay, PEER4, b"hello")


def test_an_indication_to_a_relay_of_tcp() -> None:
    made = allocation(Relay(RELAY4.advertised, RELAY4.local, True, None))
    assert from_indication(made, indication(), POLICY, NOW) is None


def test_our_own_ports() -> None:
    own = Address("203.0.113.1", 50001)
    made = allocation(peers=(own,))
    assert from_indication(made, indication(peer=own), POLICY, NOW) == (RELAY4, own, b"hello")
    assert from_indication(made, indication(peer=Address(own.host, 3478)), POLICY, NOW) is None


@pytest.mark.parametrize("padded", [True, False])
def test_to_a_client_by_channel(padded: bool) -> None:
    data = to_client(with_channel(), PEER4, b"abcde", NOW, padded=padded)
    assert data == b"\x40\x01\x00\x05abcde" + b"\0\0\0" * padded
    assert to_client(with_channel(), Address(PEER4.host, 1), b"x", NOW, padded=padded) is None


def test_to_a_client_by_indication() -> None:
    made = allocation(peers=(PEER4,))
    data = to_client(made, PEER4, b"abc", NOW, padded=False)
    assert data is not None
    message = Message.parse(data)
    assert (message.method, message.message_class) == (Method.DATA, MessageClass.INDICATION)
    assert message.get(Attribute.DATA) == b"abc"
    assert to_client(made, PEER6, b"abc", NOW, padded=False) is None
    assert to_client(made, PEER4, b"abc", NOW + 1, padded=False) is None
    assert to_client(made, PEER4, bytes(65508), NOW, padded=False) is None


@given(st.builds(Address, hosts, st.integers(1, 65535)), st.binary(max_size=1500))
def test_indications_there_and_back(peer: Address, payload: bytes) -> None:
    message = Message.parse(data_indication(peer, payload))
    assert message.get_xor_address(Attribute.XOR_PEER_ADDRESS) == peer
    assert message.get(Attribute.DATA) == payload
    message.message_class, message.method = MessageClass.INDICATION, Method.SEND
    found = from_indication(allocation(peers=(peer,)), bytes(message), PeerPolicy(), NOW)
    assert found is not None
    assert found[1:] == (peer, payload)
    assert found[0].family is peer.family


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes(data: bytes, headed: bool) -> None:
    if headed:
        data = b"\x00\x16" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + data
    found = from_indication(allocation(), data, POLICY, NOW)
    assert found is None or found[1].host in (PEER4.host, PEER6.host)
    assert from_channel(with_channel(), data, NOW) is None or data[:2] == b"\x40\x01"
