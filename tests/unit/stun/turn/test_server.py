"""The TURN server: bindings, refreshes, permissions, channels, and silence."""

from __future__ import annotations

import pytest

from parley.stun.addresses import Address, Family
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.integrity import fingerprint_is_right, protect
from parley.stun.message import Message
from parley.stun.turn.events import Mapped, Permitted, Received, Refreshed, Released
from parley.stun.turn.observer import CloseReason
from parley.stun.turn.table import Quotas
from parley.stun.turn.transactions import Session
from tests.support.turn import CLIENT, HOSTS, PEER, FakeClient, Rig, a_config

IPV6_ONLY = (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x02\0\0\0")
NO_TIME = (Attribute.LIFETIME, bytes(4))


def channel(number: int) -> tuple[int, bytes]:
    return Attribute.CHANNEL_NUMBER, number.to_bytes(2, "big") + b"\0\0"


def allocated(rig: Rig, **wish: object) -> FakeClient:
    client = rig.client()
    client.allocate(**wish)
    return client


def test_binding() -> None:
    rig = Rig()
    client = rig.client(session=Session())
    client.core.ask_address(rig.now)
    assert client.exchange() == [Mapped(CLIENT)]


@pytest.mark.parametrize("fingerprint", [True, False])
def test_a_response_has_a_fingerprint_when_the_request_has_one(fingerprint: bool) -> None:
    rig = Rig()
    reply = rig.server.receive(
        rig.client().flow, protect(Message(Method.BINDING, MessageClass.REQUEST), fingerprint=fingerprint), rig.now
    )
    assert reply is not None
    assert fingerprint_is_right(Message.parse(reply)) is fingerprint
    assert len(reply) == (40 if fingerprint else 32)


def test_a_binding_with_what_is_not_understood() -> None:
    rig = Rig()
    request = Message(Method.BINDING, MessageClass.REQUEST).add(Attribute.CHANGE_REQUEST, bytes(4))
    reply = rig.server.receive(rig.client().flow, bytes(request), rig.now)
    assert reply is not None
    response = Message.parse(reply)
    assert response.error_code == (420, "Unknown attribute")
    assert response.get(Attribute.UNKNOWN_ATTRIBUTES) == b"\x00\x03"


BINDING = Message(Method.BINDING, MessageClass.REQUEST, bytes(12))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(20),
        b"\x40\x00\x00\x00",
        bytes(BINDING)[:-1],
        bytes(BINDING) + b"\0\0\0\0",
        protect(BINDING, fingerprint=True)[:-1] + b"\xff",
        bytes(Message(Method.BINDING, MessageClass.INDICATION, bytes(12))),
        bytes(Message(Method.BINDING, MessageClass.SUCCESS, bytes(12))),
        bytes(Message(Method.ALLOCATE, MessageClass.ERROR, bytes(12))),
        bytes(Message(Method.SEND, MessageClass.INDICATION, bytes(12))),
        bytes(Message(Method.SEND, MessageClass.REQUEST, bytes(12))),
        bytes(Message(Method.DATA, MessageClass.INDICATION, bytes(12))),
        bytes(Message(0xFFF, MessageClass.REQUEST, bytes(12))),
        bytes(Message(0x002, MessageClass.REQUEST, bytes(12))),
    ],
)
def test_silence(data: bytes) -> None:
    rig = Rig()
    assert rig.server.receive(rig.client().flow, data, rig.now) is None
    assert rig.observer.refused_[0][1] == 0


@pytest.mark.parametrize("method", [Method.REFRESH, Method.CREATE_PERMISSION, Method.CHANNEL_BIND, Method.CONNECT])
def test_nothing_without_an_allocation(method: Method) -> None:
    assert Rig().client().challenge().code(method) == ErrorCode.ALLOCATION_MISMATCH


@pytest.mark.parametrize("method", [Method.REFRESH, Method.CREATE_PERMISSION, Method.CHANNEL_BIND, Method.CONNECT])
def test_nothing_with_another_name(method: Method) -> None:
    rig = Rig()
    allocated(rig)
    intruder = rig.client(session=Session("bob", "other")).challenge()
    assert intruder.code(method) == ErrorCode.WRONG_CREDENTIALS
    assert len(rig.table) == 1


def test_refresh() -> None:
    rig = Rig()
    client = allocated(rig)
    rig.now += 500
    client.core.refresh(rig.now, 3000)
    assert client.exchange() == [Refreshed(3000)]
    assert client.allocation.expires_at == rig.now + 3000
    assert rig.observer.refreshed_ == [client.allocation]


def test_release() -> None:
    rig = Rig()
    client = allocated(rig)
    client.core.release(rig.now)
    assert client.exchange() == [Released()]
    assert not rig.ports.open_relays
    assert rig.observer.closed_[0][1] is CloseReason.RELEASED
    assert client.code(Method.REFRESH, NO_TIME) == ErrorCode.ALLOCATION_MISMATCH


def test_one_family_of_two_is_released() -> None:
    rig = Rig()
    client = allocated(rig, dual=True)
    assert client.code(Method.REFRESH, IPV6_ONLY) == 0
    assert client.code(Method.REFRESH, IPV6_ONLY, NO_TIME) == 0
    assert [relay.family for relay in rig.ports.open_relays] == [Family.IPV4]
    assert client.code(Method.REFRESH, IPV6_ONLY) == ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH
    assert client.code(Method.CREATE_PERMISSION, peers=[Address("2600::1", 0)]) == ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH
    assert client.code(Method.REFRESH, (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x01\0\0\0"), NO_TIME) == 0
    assert not rig.table


def test_an_allocation_ends_in_time() -> None:
    rig = Rig()
    client = allocated(rig)
    client.cut = True
    rig.pass_time(599)
    assert len(rig.table) == 1
    rig.pass_time(1)
    assert not rig.table
    assert rig.observer.closed_[0][1] is CloseReason.EXPIRED


def test_permissions_are_for_addresses_and_end() -> None:
    rig = Rig()
    client = allocated(rig)
    assert client.send(PEER, b"a") is None
    assert client.hear(PEER, b"b") == []
    assert client.permit(PEER.host, "8.8.8.8") == [Permitted((PEER.host, "8.8.8.8"))]
    assert client.send(PEER, b"a") == (PEER, b"a")
    assert client.hear(Address(PEER.host, 9), b"b") == [Received(Address(PEER.host, 9), b"b")]
    client.cut = True
    rig.now += 299
    assert client.send(PEER, b"a") == (PEER, b"a")
    rig.now += 1
    assert client.send(PEER, b"a") is None
    assert client.hear(PEER, b"b") == []


@pytest.mark.parametrize(
    ("peers", "code"),
    [
        ([], 400),
        ([Address("2600::1", 0)], 443),
        ([Address("127.0.0.1", 0)], 403),
        ([Address("8.8.8.8", 0), Address("10.0.0.1", 0)], 403),
    ],
)
def test_refused_permissions(peers: list[Address], code: int) -> None:
    client = allocated(Rig())
    assert client.code(Method.CREATE_PERMISSION, peers=peers) == code
    assert client.allocation.permissions == {}


def test_permissions_are_limited_in_number() -> None:
    rig = Rig(quotas=Quotas(permissions=2))
    client = allocated(rig)
    client.cut = True
    peers = [Address(f"8.8.8.{number}", 0) for number in range(1, 4)]
    assert client.code(Method.CREATE_PERMISSION, peers=peers) == ErrorCode.INSUFFICIENT_CAPACITY
    assert client.code(Method.CREATE_PERMISSION, peers=peers[:2]) == 0
    assert client.code(Method.CREATE_PERMISSION, peers=peers[1:2]) == 0
    assert client.code(Method.CREATE_PERMISSION, peers=peers[2:]) == ErrorCode.INSUFFICIENT_CAPACITY
    rig.now += 300
    assert client.code(Method.CREATE_PERMISSION, peers=peers[2:]) == 0


def test_channels() -> None:
    rig = Rig()
    client = allocated(rig)
    client.bind(PEER)
    assert rig.plane.told == [("permit", PEER.host), ("bind", 0x4000)]
    assert client.send(PEER, b"abc") == (PEER, b"abc")
    assert client.hear(PEER, b"de") == [Received(PEER, b"de")]
    client.cut = True
    rig.now += 599
    assert client.hear(PEER, b"de") == [Received(PEER, b"de")]
    rig.now += 1
    assert client.send(PEER, b"abc") is None


@pytest.mark.parametrize("number", [0x3FFF, 0x8000, 0xFFFF, 0])
def test_numbers_that_are_no_channels(number: int) -> None:
    assert allocated(Rig()).code(Method.CHANNEL_BIND, channel(number), peers=[PEER]) == ErrorCode.BAD_REQUEST


def test_what_a_channel_needs() -> None:
    rig = Rig()
    client = allocated(rig)
    assert client.code(Method.CHANNEL_BIND, channel(0x4000)) == ErrorCode.BAD_REQUEST
    assert client.code(Method.CHANNEL_BIND, peers=[PEER]) == ErrorCode.BAD_REQUEST
    assert client.code(Method.CHANNEL_BIND, (Attribute.CHANNEL_NUMBER, b"\x40\0"), peers=[PEER]) == ErrorCode.BAD_REQUEST
    assert client.code(Method.CHANNEL_BIND, channel(0x4000), peers=[Address("10.0.0.1", 1)]) == ErrorCode.FORBIDDEN
    assert client.code(Method.CHANNEL_BIND, channel(0x4000), peers=[Address(PEER.host, 0)]) == ErrorCode.FORBIDDEN
    assert client.code(Method.CHANNEL_BIND, channel(0x4000), peers=[Address("2600::1", 1)]) == 443
    assert client.allocation.channels == {}


def test_a_channel_stays_with_its_peer_until_it_ends() -> None:
    rig = Rig()
    client = allocated(rig, lifetime=3600)
    client.cut = True
    assert client.code(Method.CHANNEL_BIND, channel(0x4001), peers=[PEER]) == 0
    elsewhere = Address(PEER.host, PEER.port + 1)
    assert client.code(Method.CHANNEL_BIND, channel(0x4001), peers=[elsewhere]) == ErrorCode.BAD_REQUEST
    assert client.code(Method.CHANNEL_BIND, channel(0x4002), peers=[PEER]) == ErrorCode.BAD_REQUEST
    rig.now += 400
    assert client.code(Method.CHANNEL_BIND, channel(0x4001), peers=[PEER]) == 0
    rig.now += 599
    assert client.challenge().code(Method.CHANNEL_BIND, channel(0x4002), peers=[PEER]) == ErrorCode.BAD_REQUEST
    rig.now += 1
    assert client.code(Method.CHANNEL_BIND, channel(0x4002), peers=[PEER]) == 0
    assert set(client.allocation.channels) == {0x4002}


def test_channels_are_limited_in_number() -> None:
    client = allocated(Rig(quotas=Quotas(channels=1)))
    assert client.code(Method.CHANNEL_BIND, channel(0x4000), peers=[PEER]) == 0
    second = Address(PEER.host, 1)
    assert client.code(Method.CHANNEL_BIND, channel(0x4001), peers=[second]) == ErrorCode.INSUFFICIENT_CAPACITY


def test_our_own_address_is_reached_on_relay_ports_alone() -> None:
    rig = Rig()
    client = allocated(rig)
    own = HOSTS[Family.IPV4]
    client.permit(own)
    assert client.send(Address(own, 50001), b"x") == (Address(own, 50001), b"x")
    assert client.send(Address(own, 22), b"x") is None
    assert client.code(Method.CHANNEL_BIND, channel(0x4000), peers=[Address(own, 22)]) == ErrorCode.FORBIDDEN
    assert client.code(Method.CHANNEL_BIND, channel(0x4000), peers=[Address(own, 50001)]) == 0


def test_software_is_told_to_those_who_are_known() -> None:
    rig = Rig(a_config(software="Parley"))
    client = rig.client()
    client.allocate()
    response = client.ask(Method.REFRESH)
    assert response is not None
    assert response.get(Attribute.SOFTWARE) == b"Parley"
    reply = rig.server.receive(client.flow, bytes(BINDING), rig.now)
    assert reply is not None
    assert Message.parse(reply).get(Attribute.SOFTWARE) is None


def test_the_table_closes_all() -> None:
    rig = Rig()
    allocated(rig, dual=True)
    rig.table.close_all(CloseReason.SHUTDOWN)
    assert not rig.ports.open_relays
    assert rig.observer.closed_[0][1] is CloseReason.SHUTDOWN
