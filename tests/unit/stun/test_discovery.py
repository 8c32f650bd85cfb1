"""NAT behaviour discovery."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parley.stun.addresses import Address
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.discovery import Discovery
from parley.stun.message import Message
from parley.stun.turn.allocations import Transport
from parley.stun.turn.events import Mapped
from tests.support.turn import CLIENT, SERVER, Rig, a_config

DISCOVERY = Discovery(SERVER, Address("203.0.113.2", 3479), {"203.0.113.2": "198.51.100.2"})
PUBLIC = {"203.0.113.1": "203.0.113.1", "203.0.113.2": "198.51.100.2"}


@pytest.mark.parametrize(
    ("change", "source"),
    [(0, SERVER), (2, Address("203.0.113.1", 3479)), (4, Address("203.0.113.2", 3478)), (6, Address("203.0.113.2", 3479))],
)
def test_the_answer_comes_from_where_it_is_wanted(change: int, source: Address) -> None:
    rig = Rig(a_config(discovery=DISCOVERY))
    client = rig.client()
    client.core.ask_address(rig.now, change=change)
    (data,) = client.core.take_outgoing()
    reply = rig.server.receive(client.flow, data, rig.now)
    if change:
        assert reply is None
        ((flow, reply),) = rig.shell.sent
        assert flow == replace(client.flow, server=source)
    assert reply is not None
    assert client.core.receive(reply, rig.now)
    origin = Address(PUBLIC[source.host], source.port)
    assert client.core.take_events() == [Mapped(CLIENT, origin, Address("198.51.100.2", 3479))]


def test_the_answer_goes_to_another_port_of_the_same_host() -> None:
    rig = Rig(a_config(discovery=DISCOVERY))
    client = rig.client()
    client.core.ask_address(rig.now, response_port=9)
    client.exchange()
    ((flow, _),) = rig.shell.sent
    assert flow == replace(client.flow, client=Address(CLIENT.host, 9))


def test_padding_comes_back_no_longer_than_it_came() -> None:
    rig = Rig(a_config(discovery=DISCOVERY))
    client = rig.client()
    client.core.ask_address(rig.now, padding=1000)
    client.exchange()
    assert client.last is not None
    assert Message.parse(client.last).get(Attribute.PADDING) == bytes(1000)


def code(rig: Rig, transport: Transport, *attributes: tuple[int, bytes]) -> tuple[int, str] | None:
    message = Message(Method.BINDING, MessageClass.REQUEST, attributes=list(attributes))
    reply = rig.server.receive(rig.client(transport=transport).flow, bytes(message), rig.now)
    assert reply is not None
    return Message.parse(reply).error_code


@pytest.mark.parametrize("kind", [Attribute.CHANGE_REQUEST, Attribute.RESPONSE_PORT, Attribute.PADDING])
def test_who_cannot_does_not_know_of_it(kind: Attribute) -> None:
    assert code(Rig(), Transport.UDP, (kind, bytes(4))) == (420, "Unknown attribute")
    rig = Rig(a_config(discovery=DISCOVERY))
    assert code(rig, Transport.TCP, (kind, bytes(4))) == (420, "Unknown attribute")


@pytest.mark.parametrize(
    "attributes",
    [
        [(Attribute.RESPONSE_PORT, b"\0\x09\0\0"), (Attribute.PADDING, b"x")],
        [(Attribute.RESPONSE_PORT, bytes(4))],
        [(Attribute.RESPONSE_PORT, b"\0\x09")],
        [(Attribute.CHANGE_REQUEST, b"")],
    ],
)
def test_what_makes_no_sense(attributes: list[tuple[int, bytes]]) -> None:
    error = code(Rig(a_config(discovery=DISCOVERY)), Transport.UDP, *attributes)
    assert error is not None
    assert error[0] == 400


@pytest.mark.parametrize("alternate", [Address("203.0.113.2", 3478), Address("203.0.113.1", 3479)])
def test_four_sockets_are_needed(alternate: Address) -> None:
    with pytest.raises(ValueError, match="two addresses and two ports"):
        Discovery(SERVER, alternate)
