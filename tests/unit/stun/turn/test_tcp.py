"""Relayed TCP (RFC 6062): dialling, being called, and the stream that a client comes with."""

from __future__ import annotations

import pytest

from parley.stun.addresses import Address
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.message import Message
from parley.stun.turn.allocate import TCP
from parley.stun.turn.allocations import Transport
from parley.stun.turn.events import Connected, ConnectionBound, Failed
from parley.stun.turn.observer import CloseReason
from parley.stun.turn.shell import PeerConnectionState
from parley.stun.turn.table import Quotas
from parley.stun.turn.tcp import owner_of
from parley.stun.turn.transactions import Session
from tests.support.turn import CLIENT, PEER, FakeClient, Rig, a_config

DATA_STREAM = Address(CLIENT.host, 40001)
NO_SUCH = (Attribute.CONNECTION_ID, b"\0\0\0\1")


def allocated(rig: Rig) -> FakeClient:
    client = rig.client(transport=Transport.TCP)
    client.allocate(protocol=TCP)
    return client


def dial(client: FakeClient, peer: Address = PEER) -> None:
    client.core.connect(peer, client.rig.now)
    assert client.exchange() == []


def come_for(rig: Rig, number: int, session: Session) -> tuple[FakeClient, list[object]]:
    stream = rig.client(DATA_STREAM, transport=Transport.TCP, session=session)
    stream.core.bind_connection(number, rig.now)
    return stream, list(stream.exchange())


def test_a_client_calls_a_peer() -> None:
    rig = Rig(a_config(worker=3))
    client = allocated(rig)
    dial(client)
    (connection,) = rig.shell.dialling
    assert (connection.peer, connection.number >> 24) == (PEER, 3)
    rig.server.dialled(connection, True, rig.now)
    assert client.exchange() == [Connected(connection.number, PEER, incoming=False)]
    stream, events = come_for(rig, connection.number, client.core.session)
    assert events == [ConnectionBound()]
    assert rig.shell.spliced == [(connection, stream.flow)]
    rig.pass_time(300)
    assert rig.shell.hung_up == []
    rig.server.disconnected(connection)
    rig.server.disconnected(connection)
    assert len(rig.server.connections) == 0
    dial(client)


def test_a_peer_calls() -> None:
    rig = Rig()
    client = allocated(rig)
    assert rig.server.accepted(client.allocation, PEER, rig.now) is None
    client.permit(PEER.host)
    connection = rig.server.accepted(client.allocation, PEER, rig.now)
    assert connection is not None
    assert client.exchange() == [Connected(connection.number, PEER, incoming=True)]
    assert rig.server.accepted(client.allocation, PEER, rig.now) is None
    _, events = come_for(rig, connection.number, client.core.session)
    assert events == [ConnectionBound()]


def test_a_peer_that_does_not_answer() -> None:
    rig = Rig()
    client = allocated(rig)
    dial(client)
    rig.server.dialled(rig.shell.dialling[0], False, rig.now)
    rig.server.dialled(rig.shell.dialling[0], False, rig.now)
    failed = Failed(Method.CONNECT, 447, "Connection timeout or failure")
    assert client.exchange() == [failed]
    dial(client)
    rig.server.expire(rig.now + 30)
    assert rig.shell.hung_up == rig.shell.dialling[1:]
    assert client.exchange() == [failed]
    rig.server.dialled(rig.shell.dialling[1], True, rig.now)
    assert client.exchange() == []
    assert rig.observer.refused_[-2:] == [(Method.CONNECT, 447)] * 2


def test_a_client_that_does_not_come() -> None:
    rig = Rig()
    client = allocated(rig)
    dial(client)
    (connection,) = rig.shell.dialling
    rig.server.dialled(connection, True, rig.now + 20)
    rig.server.expire(rig.now + 30)
    assert rig.shell.hung_up == []
    rig.server.expire(rig.now + 50)
    assert rig.shell.hung_up == [connection]


@pytest.mark.parametrize(
    ("peers", "code"),
    [
        ([], 400),
        ([PEER], 446),
        ([Address("10.0.0.1", 80)], 403),
        ([Address("8.8.8.8", 0)], 403),
        ([Address("2600::1", 80)], 443),
    ],
)
def test_refused_calls(peers: list[Address], code: int) -> None:
    rig = Rig()
    client = allocated(rig)
    dial(client)
    assert client.code(Method.CONNECT, peers=peers) == code


def test_connections_are_limited_in_number() -> None:
    rig = Rig(quotas=Quotas(connections=1))
    client = allocated(rig)
    dial(client)
    assert client.code(Method.CONNECT, peers=[Address(PEER.host, 1)]) == ErrorCode.INSUFFICIENT_CAPACITY
    client.permit(PEER.host)
    assert rig.server.accepted(client.allocation, Address(PEER.host, 2), rig.now) is None


def test_what_relays_datagrams_makes_no_calls() -> None:
    client = Rig().client(transport=Transport.TCP)
    client.allocate()
    assert client.code(Method.CONNECT, peers=[PEER]) == ErrorCode.BAD_REQUEST


def test_what_relays_streams_has_no_channels() -> None:
    client = allocated(Rig())
    number = (Attribute.CHANNEL_NUMBER, b"\x40\0\0\0")
    assert client.code(Method.CHANNEL_BIND, number, peers=[PEER]) == ErrorCode.FORBIDDEN


def test_who_may_not_come_for_a_connection() -> None:
    rig = Rig()
    client = allocated(rig)
    dial(client)
    (connection,) = rig.shell.dialling
    named = (Attribute.CONNECTION_ID, connection.number.to_bytes(4, "big"))
    stream = rig.client(DATA_STREAM, transport=Transport.TCP).challenge()
    assert stream.code(Method.CONNECTION_BIND, named) == ErrorCode.BAD_REQUEST  # it is not there yet
    rig.server.dialled(connection, True, rig.now)
    assert stream.code(Method.CONNECTION_BIND) == ErrorCode.BAD_REQUEST
    assert stream.code(Method.CONNECTION_BIND, NO_SUCH) == ErrorCode.BAD_REQUEST
    assert client.code(Method.CONNECTION_BIND, named) == ErrorCode.BAD_REQUEST
    assert rig.client(DATA_STREAM).challenge().code(Method.CONNECTION_BIND, named) == ErrorCode.BAD_REQUEST
    bob = rig.client(DATA_STREAM, transport=Transport.TCP, session=Session("bob", "other")).challenge()
    assert bob.code(Method.CONNECTION_BIND, named) == ErrorCode.WRONG_CREDENTIALS
    assert connection.state is PeerConnectionState.WAITING


def test_a_name_that_has_ended_still_comes_for_its_connections() -> None:
    rig = Rig()
    client = rig.client(transport=Transport.TCP, session=Session(*rig.names.issue("carol", rig.now + rig.wall_offset, 10)))
    client.allocate(protocol=TCP)
    rig.now += 20
    dial(client)
    rig.server.dialled(rig.shell.dialling[0], True, rig.now)
    client.exchange()
    _, events = come_for(rig, rig.shell.dialling[0].number, client.core.session)
    assert events == [ConnectionBound()]


@pytest.mark.parametrize("reason", [CloseReason.RELEASED, CloseReason.EXPIRED, CloseReason.DISCONNECTED])
def test_connections_end_with_their_allocation(reason: CloseReason) -> None:
    rig = Rig()
    client = allocated(rig)
    dial(client)
    dial(client, Address(PEER.host, 1))
    rig.server.dialled(rig.shell.dialling[0], True, rig.now)
    rig.table.close(client.allocation, reason)
    assert rig.shell.hung_up == rig.shell.dialling
    assert len(rig.server.connections) == 0
    rig.server.dialled(rig.shell.dialling[1], True, rig.now)
    assert client.rig.shell.spliced == []


def test_messages_for_another_worker() -> None:
    def message(method: Method, *attributes: tuple[int, bytes]) -> bytes:
        return bytes(Message(method, MessageClass.REQUEST, attributes=list(attributes)))

    assert owner_of(message(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, b"\x05\0\0\0"))) == 5
    assert owner_of(message(Method.ALLOCATE, (Attribute.RESERVATION_TOKEN, b"\x06" + bytes(7)))) == 6
    assert owner_of(message(Method.ALLOCATE)) is None
    assert owner_of(message(Method.REFRESH, (Attribute.CONNECTION_ID, b"\x05\0\0\0"))) is None
    assert owner_of(message(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, b""))) is None
    assert owner_of(b"no message") is None


def test_a_port_that_another_worker_held() -> None:
    holder, taker = Rig(a_config(worker=1)), Rig(a_config(worker=2))
    response = (
        holder.client()
        .challenge()
        .ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, b"\x11\0\0\0"), (Attribute.EVEN_PORT, b"\x80"))
    )
    assert response is not None
    token = response.get(Attribute.RESERVATION_TOKEN)
    assert token is not None
    relay = holder.server.reservations.claim(token, holder.now)
    assert relay is not None
    holder.ports.open_relays.remove(relay)
    taker.ports.open_relays.add(relay)
    taker.server.reservations.adopt(token, relay, taker.now)
    client = taker.client()
    client.allocate(token=token)
    assert client.allocation.relays == (relay,)
