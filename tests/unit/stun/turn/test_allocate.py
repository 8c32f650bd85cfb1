"""Allocate requests: what is granted, and each way to be refused."""

from __future__ import annotations

import pytest

from parley.stun.addresses import Address, Family, decode_address
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.message import Message
from parley.stun.turn.allocate import TCP
from parley.stun.turn.allocations import Dialect, Transport
from parley.stun.turn.events import Allocated, Failed, Redirected
from parley.stun.turn.observer import CloseReason
from parley.stun.turn.table import Quotas
from parley.stun.turn.transactions import Session
from tests.support.turn import CLIENT, HOSTS, SERVER, FakePorts, Rig, a_config

UDP_WANTED = (Attribute.REQUESTED_TRANSPORT, b"\x11\0\0\0")
TCP_WANTED = (Attribute.REQUESTED_TRANSPORT, b"\x06\0\0\0")
IPV6_MORE = (Attribute.ADDITIONAL_ADDRESS_FAMILY, b"\x02\0\0\0")
TOKEN = (Attribute.RESERVATION_TOKEN, bytes(8))
EVEN = (Attribute.EVEN_PORT, b"\0")
RESERVE = (Attribute.EVEN_PORT, b"\x80")
DONT_FRAGMENT = (Attribute.DONT_FRAGMENT, b"")


def other(port: int) -> Address:
    return Address(CLIENT.host, port)


def test_an_allocation() -> None:
    rig = Rig()
    client = rig.client()
    assert client.allocate() == [Allocated((Address(HOSTS[Family.IPV4], 50000),), CLIENT, 600)]
    allocation = client.allocation
    assert rig.plane.allocations == {allocation}
    assert rig.observer.opened_ == [allocation]
    assert allocation.user == "alice"
    assert "sesame" not in repr(allocation)
    assert repr(allocation.key) not in repr(allocation)


@pytest.mark.parametrize(
    ("asked", "granted"), [(None, 600), (0, 600), (599, 600), (1800, 1800), (3601, 3600), (2**32 - 1, 3600)]
)
def test_lifetimes(asked: int | None, granted: int) -> None:
    (event,) = Rig().client().allocate(lifetime=asked)
    assert isinstance(event, Allocated)
    assert event.lifetime == granted


def test_a_repeated_request_gets_the_same_answer_and_no_second_allocation() -> None:
    rig = Rig()
    client = rig.client().challenge()
    message = Message(Method.ALLOCATE, MessageClass.REQUEST, attributes=[UDP_WANTED])
    data = client.core.session.sign(message)
    first = rig.server.receive(client.flow, data, rig.now)
    assert rig.server.receive(client.flow, data, rig.now + 39) == first
    assert len(rig.observer.opened_) == 1
    late = rig.server.receive(client.flow, data, rig.now + 41)
    assert late is not None
    assert Message.parse(late).error_code == (437, "Allocation mismatch")


def test_a_second_allocation_on_a_flow() -> None:
    client = Rig().client()
    client.allocate()
    assert client.code(Method.ALLOCATE, UDP_WANTED) == ErrorCode.ALLOCATION_MISMATCH


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ([], 400),
        ([(Attribute.REQUESTED_TRANSPORT, b"\x11")], 400),
        ([(Attribute.REQUESTED_TRANSPORT, b"\x01\0\0\0")], 442),
        ([TCP_WANTED], 400),
        ([UDP_WANTED, TOKEN, EVEN], 400),
        ([UDP_WANTED, TOKEN, IPV6_MORE], 400),
        ([UDP_WANTED, TOKEN, (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x01\0\0\0")], 400),
        ([UDP_WANTED, (Attribute.RESERVATION_TOKEN, bytes(7))], 400),
        ([UDP_WANTED, TOKEN], 508),
        ([UDP_WANTED, (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x03\0\0\0")], 440),
        ([UDP_WANTED, (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x01")], 400),
        ([UDP_WANTED, (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x01\0\0\0"), IPV6_MORE], 400),
        ([UDP_WANTED, (Attribute.ADDITIONAL_ADDRESS_FAMILY, b"\x01\0\0\0")], 400),
        ([UDP_WANTED, RESERVE, IPV6_MORE], 400),
        ([UDP_WANTED, (Attribute.EVEN_PORT, b"")], 400),
        ([UDP_WANTED, (Attribute.LIFETIME, b"\0")], 400),
        ([UDP_WANTED, DONT_FRAGMENT], 420),
        ([UDP_WANTED, (0x7ABC, b"")], 420),
    ],
)
def test_refusals(attributes: list[tuple[int, bytes]], code: int) -> None:
    rig = Rig()
    assert rig.client().challenge().code(Method.ALLOCATE, *attributes) == code
    assert not rig.table
    assert not rig.ports.open_relays
    assert rig.observer.refused_[-1] == (Method.ALLOCATE, code)


@pytest.mark.parametrize("attribute", [EVEN, DONT_FRAGMENT, TOKEN])
def test_tcp_takes_none_of_what_is_for_datagrams(attribute: tuple[int, bytes]) -> None:
    client = Rig().client(transport=Transport.TCP).challenge()
    assert client.code(Method.ALLOCATE, TCP_WANTED, attribute) == ErrorCode.BAD_REQUEST


def test_tcp_where_it_is_not_relayed() -> None:
    client = Rig(a_config(tcp=False)).client(transport=Transport.TCP).challenge()
    assert client.code(Method.ALLOCATE, TCP_WANTED) == ErrorCode.UNSUPPORTED_TRANSPORT
    assert client.ask(Method.CONNECT) is None


def test_what_is_not_understood_is_named() -> None:
    response = Rig().client().challenge().ask(Method.ALLOCATE, UDP_WANTED, (0x7ABC, b"x"), (0x7ABD, b""), (0x7ABC, b""))
    assert response is not None
    assert response.get(Attribute.UNKNOWN_ATTRIBUTES) == b"\x7a\xbc\x7a\xbd"


def test_two_families() -> None:
    rig = Rig()
    (event,) = rig.client().allocate(dual=True)
    assert isinstance(event, Allocated)
    assert [address.family for address in event.relayed] == [Family.IPV4, Family.IPV6]


def test_the_second_family_may_fail() -> None:
    rig = Rig(a_config(families=frozenset({Family.IPV4})))
    response = rig.client().challenge().ask(Method.ALLOCATE, UDP_WANTED, IPV6_MORE)
    assert response is not None
    assert response.message_class is MessageClass.SUCCESS
    failed = response.get(Attribute.ADDRESS_ERROR_CODE)
    assert failed is not None
    assert failed[:4] == bytes((2, 0, 4, 40))
    assert len(response.get_xor_addresses(Attribute.XOR_RELAYED_ADDRESS)) == 1


def test_a_family_that_is_not_relayed() -> None:
    rig = Rig(a_config(families=frozenset({Family.IPV4})))
    assert rig.client().allocate(family=Family.IPV6) == [Failed(Method.ALLOCATE, 440, "Address family not supported")]


def test_a_reserved_port_is_for_whoever_has_the_token() -> None:
    rig = Rig(a_config(worker=7))
    (event,) = rig.client().allocate(reserve=True)
    assert isinstance(event, Allocated)
    assert event.relayed[0].port % 2 == 0
    assert event.token[0] == 7
    (second,) = rig.client(other(2)).allocate(token=event.token)
    assert isinstance(second, Allocated)
    assert second.relayed[0].port == event.relayed[0].port + 1
    assert rig.client(other(3)).allocate(token=event.token) == [Failed(Method.ALLOCATE, 508, "Insufficient capacity")]


def test_a_reservation_ends() -> None:
    rig = Rig()
    (event,) = rig.client().allocate(reserve=True)
    assert isinstance(event, Allocated)
    assert len(rig.ports.open_relays) == 2
    rig.pass_time(29)
    assert len(rig.ports.open_relays) == 2
    rig.pass_time(1)
    assert len(rig.ports.open_relays) == 1
    assert rig.client(other(2)).allocate(token=event.token) == [Failed(Method.ALLOCATE, 508, "Insufficient capacity")]


def test_no_two_ports_side_by_side() -> None:
    rig = Rig(ports=FakePorts(50000, 50000))
    assert rig.client().allocate(reserve=True) == [Failed(Method.ALLOCATE, 508, "Insufficient capacity")]
    assert not rig.ports.open_relays


def test_all_ports_are_taken() -> None:
    rig = Rig(ports=FakePorts(50000, 50000))
    rig.client().allocate()
    assert rig.client(other(2)).allocate() == [Failed(Method.ALLOCATE, 508, "Insufficient capacity")]


def test_dont_fragment_where_the_relay_can() -> None:
    rig = Rig()
    rig.ports.dont_fragment = True
    (event,) = rig.client().allocate(dont_fragment=True)
    assert isinstance(event, Allocated)


@pytest.mark.parametrize("quotas", [Quotas(per_user=2), Quotas(per_source=2), Quotas(total=2)])
def test_quotas(quotas: Quotas) -> None:
    rig = Rig(quotas=quotas)
    clients = [rig.client(other(port)) for port in range(1, 4)]
    events = [client.allocate()[0] for client in clients]
    assert [isinstance(event, Allocated) for event in events] == [True, True, False]
    assert events[2] == Failed(Method.ALLOCATE, 486, "Allocation quota reached")
    clients[0].core.release(rig.now)
    clients[0].exchange()
    assert isinstance(clients[2].allocate()[0], Allocated)


def test_quotas_of_a_user_hold_over_time_limited_names() -> None:
    rig = Rig(quotas=Quotas(per_user=1))
    names = [rig.names.issue("carol", 1_750_000_000.0, lifetime) for lifetime in (60, 61)]
    events = [rig.client(other(port), session=Session(*name)).allocate()[0] for port, name in enumerate(names, 1)]
    assert isinstance(events[0], Allocated)
    assert isinstance(events[1], Failed)
    assert events[1].code == ErrorCode.ALLOCATION_QUOTA_REACHED


def test_draining_sends_new_clients_elsewhere_and_keeps_old_ones() -> None:
    rig = Rig()
    old = rig.client()
    old.allocate()
    rig.server.drain({Family.IPV4: "203.0.113.2"}, "relay2.example.org")
    new = rig.client(other(2))
    assert new.allocate() == [Redirected(Address("203.0.113.2", SERVER.port), "relay2.example.org")]
    assert old.permit("8.8.8.8") != []
    old.core.refresh(rig.now)
    assert old.code(Method.REFRESH) == 0
    rig.server.resume()
    assert isinstance(new.allocate()[0], Allocated)


def test_draining_with_nowhere_to_go() -> None:
    rig = Rig()
    rig.server.drain({})
    assert rig.client().allocate() == [Failed(Method.ALLOCATE, 508, "Insufficient capacity")]


def test_the_alternate_is_plain() -> None:
    rig = Rig()
    rig.server.drain({Family.IPV4: "203.0.113.2"})
    response = rig.client().challenge().ask(Method.ALLOCATE, UDP_WANTED)
    assert response is not None
    value = response.get(Attribute.ALTERNATE_SERVER)
    assert value is not None
    assert decode_address(value) == Address("203.0.113.2", 3478)
    assert response.get(Attribute.ALTERNATE_DOMAIN) is None


def test_a_flow_of_the_other_dialect_stays_with_it() -> None:
    rig = Rig()
    client = rig.client().challenge()
    held = rig.table.open(
        client.flow, Dialect.MS_TURN, username="m", user="m", key=bytes(16), relays=(), now=rig.now, lifetime=60
    )
    assert client.ask(Method.ALLOCATE, UDP_WANTED) is None
    assert client.ask(Method.REFRESH) is None
    rig.server.closed(client.flow, rig.now)
    assert rig.table.at(client.flow) is held
    assert not rig.ports.open_relays


def test_a_stream_that_closes_takes_its_allocation_with_it() -> None:
    rig = Rig()
    client = rig.client(transport=Transport.TLS)
    client.allocate(protocol=TCP)
    (relay,) = rig.ports.open_relays
    assert relay.stream
    rig.server.closed(client.flow, rig.now)
    rig.server.closed(client.flow, rig.now)
    assert not rig.ports.open_relays
    assert [reason for _, reason in rig.observer.closed_] == [CloseReason.DISCONNECTED]
