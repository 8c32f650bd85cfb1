"""The TURN client: repeats, refreshes, and whom it believes."""

from __future__ import annotations

from math import inf

import pytest

from parley.stun.addresses import Address, encode_address
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.integrity import long_term_key, protect
from parley.stun.message import Message
from parley.stun.turn.allocations import Transport
from parley.stun.turn.client import ChannelsUsedUp, TurnClient
from parley.stun.turn.events import ChannelBound, Failed, Mapped, Permitted, Received, Redirected
from parley.stun.turn.transactions import Session
from tests.support.turn import CLIENT, PASSWORD, PEER, REALM, USER, FakeClient, Rig

KEY = long_term_key(USER, REALM, PASSWORD)


def allocated(rig: Rig) -> FakeClient:
    client = rig.client()
    client.allocate()
    return client


def times_of_sending(client: TurnClient, until: float) -> list[float]:
    sent, now = [], 0.0
    while True:
        sent += [now] * len(client.take_outgoing())
        now = client.deadline
        if now > until:
            return sent
        client.expire(now)


def test_requests_are_repeated_and_then_given_up() -> None:
    client = TurnClient(Session())
    client.ask_address(0.0)
    assert times_of_sending(client, 1000) == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert client.take_events() == [Failed(Method.BINDING, None, "")]
    assert client.deadline == inf
    assert str(Failed(Method.BINDING, None, "")) == "no answer came"


def test_nothing_is_repeated_on_a_stream() -> None:
    client = TurnClient(Session(), stream=True)
    client.ask_address(0.0)
    assert times_of_sending(client, 1000) == [0.0]
    assert client.take_events() == [Failed(Method.BINDING, None, "")]


def test_a_repeated_request_is_the_same() -> None:
    client = TurnClient(Session())
    client.ask_address(0.0)
    first = client.take_outgoing()
    client.expire(0.5)
    assert client.take_outgoing() == first


def test_wrong_credentials_are_tried_once() -> None:
    rig = Rig()
    client = rig.client(session=Session(USER, "wrong"))
    (event,) = client.allocate()
    assert event == Failed(Method.ALLOCATE, 401, "")
    assert isinstance(event, Failed)
    assert event.is_permanent
    assert rig.observer.refused_ == [(Method.ALLOCATE, 401)] * 2


def test_without_a_name_a_challenge_is_the_end() -> None:
    assert Rig().client(session=Session()).allocate() == [Failed(Method.ALLOCATE, 401, "")]


def test_what_was_given_is_kept() -> None:
    rig = Rig()
    client = allocated(rig)
    client.permit("8.8.8.8")
    client.bind(PEER)
    for _ in range(40):
        rig.pass_time(100)
        assert client.send(PEER, b"x") == (PEER, b"x")
        assert client.send(Address("8.8.8.8", 1), b"x") == (Address("8.8.8.8", 1), b"x")
    assert client.core.take_events() == []
    assert len(rig.observer.opened_) == 1


def test_nothing_is_kept_after_the_release() -> None:
    rig = Rig()
    client = allocated(rig)
    client.permit("8.8.8.8")
    client.bind(PEER)
    client.core.release(rig.now)
    client.exchange()
    assert client.core.deadline == inf
    assert client.core.relayed == ()


def test_a_failure_to_keep_is_told() -> None:
    rig = Rig()
    client = allocated(rig)
    rig.server.closed(client.flow, rig.now)
    client.core.expire(rig.now + 540)
    assert client.exchange() == [Failed(Method.REFRESH, 437, "Allocation mismatch")]


def test_a_channel_is_used_once_it_stands() -> None:
    rig = Rig()
    client = allocated(rig)
    number = client.core.bind_channel(PEER, rig.now)
    assert client.core.send(PEER, b"x")[0] == 0
    assert client.exchange() == [ChannelBound(number, PEER)]
    assert client.core.send(PEER, b"x") == b"\x40\x00\x00\x01x"
    assert client.core.send(PEER, b"x", dont_fragment=True)[0] == 0
    assert client.core.bind_channel(PEER, rig.now) == number


def test_channels_on_a_stream_are_padded() -> None:
    rig = Rig()
    client = rig.client(transport=Transport.TCP)
    client.allocate()
    client.bind(PEER)
    assert client.core.send(PEER, b"x") == b"\x40\x00\x00\x01x\0\0\0"
    assert client.hear(PEER, b"y") == [Received(PEER, b"y")]


def test_a_refused_channel_is_not_used() -> None:
    rig = Rig()
    client = allocated(rig)
    peer = Address("10.0.0.1", 1)
    assert client.bind(peer) == [Failed(Method.CHANNEL_BIND, 403, "Forbidden")]
    assert client.core.send(peer, b"x")[0] == 0


def test_channels_are_used_up() -> None:
    client = TurnClient(Session())
    for port in range(0x1000):
        client.bind_channel(Address("8.8.8.8", port + 1), 0.0)
    with pytest.raises(ChannelsUsedUp):
        client.bind_channel(Address("8.8.8.9", 1), 0.0)


def answered(client: FakeClient, make: Message | None = None, *, key: bytes = b"") -> list[object]:
    """What a client makes of an answer to a permission it asks for."""
    client.core.permit(["8.8.8.8"], 0.0)
    (data,) = client.core.take_outgoing()
    request = Message.parse(data)
    response = request.success() if make is None else make
    response.transaction_id = request.transaction_id
    client.core.receive(protect(response, key), 0.0)
    return list(client.core.take_events())


def error(code: int) -> Message:
    return Message(Method.CREATE_PERMISSION, MessageClass.REQUEST).error(ErrorCode(code))


def test_whom_a_client_believes() -> None:
    client = allocated(Rig())
    key = client.core.session.key
    assert answered(client, key=key) == [Permitted(("8.8.8.8",))]
    assert answered(client) == []
    assert answered(client, key=b"other") == []
    assert answered(client, error(403)) == []
    assert answered(client, error(403), key=key) == [Failed(Method.CREATE_PERMISSION, 403, "Forbidden")]
    assert answered(client, error(400)) == [Failed(Method.CREATE_PERMISSION, 400, "Bad request")]
    redirect = error(300).add(Attribute.ALTERNATE_SERVER, encode_address(CLIENT))
    assert answered(client, redirect) == []
    assert answered(client, redirect, key=key) == [Redirected(CLIENT, "")]
    assert answered(client, Message(Method.REFRESH, MessageClass.SUCCESS), key=key) == []


def test_answers_that_cannot_be_read() -> None:
    client = TurnClient(Session())

    def events(*attributes: tuple[int, bytes]) -> list[object]:
        client.ask_address(0.0)
        request = Message.parse(client.take_outgoing()[0])
        response = request.success()
        response.attributes.extend(attributes)
        client.receive(bytes(response), 0.0)
        return [event.code if isinstance(event, Failed) else event for event in client.take_events()]

    assert events() == [500]
    assert events((Attribute.XOR_MAPPED_ADDRESS, b"x")) == [500]
    assert events((Attribute.XOR_MAPPED_ADDRESS, bytes.fromhex("0001a147e112a643"))) == [Mapped(Address("192.0.2.1", 32853))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x40\x00\x00\x00",
        b"\x40\x00\x00\x09",
        bytes(20),
        bytes(Message(Method.BINDING, MessageClass.REQUEST, bytes(12))),
        bytes(Message(Method.DATA, MessageClass.INDICATION, bytes(12))),
        bytes(Message(Method.DATA, MessageClass.INDICATION, bytes(12)).add_xor_address(Attribute.XOR_PEER_ADDRESS, PEER)),
        bytes(
            Message(Method.CONNECTION_ATTEMPT, MessageClass.INDICATION, bytes(12)).add_xor_address(
                Attribute.XOR_PEER_ADDRESS, PEER
            )
        ),
        protect(Message(Method.BINDING, MessageClass.SUCCESS, bytes(12)), fingerprint=True)[:-1] + b"\0",
    ],
)
def test_what_a_client_ignores(data: bytes) -> None:
    client = TurnClient(Session())
    assert not client.receive(data, 0.0)
    assert client.take_events() == []


def test_a_server_that_always_calls_the_nonce_stale() -> None:
    client = TurnClient(Session(USER, PASSWORD))
    client.allocate(0.0)
    sent = 0
    while outgoing := client.take_outgoing():
        sent += len(outgoing)
        request = Message.parse(outgoing[0])
        response = request.error(ErrorCode.STALE_NONCE).add(Attribute.REALM, REALM.encode()).add(Attribute.NONCE, b"n")
        client.receive(bytes(response), 0.0)
    assert client.take_events() == [Failed(Method.ALLOCATE, 438, "Stale nonce")]
    assert sent == 4
