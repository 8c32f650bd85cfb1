"""Client-initiated connections (RFC 5626): what a contact says of its flow, and the STUN that keeps one alive."""

from __future__ import annotations

import pytest

from parley.sip.nameaddr import NameAddr, parse_name_addr
from parley.sip.outbound import instance_of, reg_id_of, stun_binding_response
from parley.stun.addresses import Address
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.message import Message

REQUEST = Message(Method.BINDING, MessageClass.REQUEST)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_a_binding_request_is_answered_with_the_address_it_came_from(host: str) -> None:
    answer = stun_binding_response(bytes(REQUEST), (f"{host}%eth0" if ":" in host else host, 5062))
    assert answer is not None
    response = Message.parse(answer)
    assert (response.method, response.message_class) == (Method.BINDING, MessageClass.SUCCESS)
    assert response.transaction_id == REQUEST.transaction_id
    assert response.get_xor_address(Attribute.XOR_MAPPED_ADDRESS) == Address(host, 5062)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(REQUEST)[:19],
        bytes(REQUEST) + b"\0",
        bytes(REQUEST)[:4] + bytes(4) + bytes(REQUEST)[8:],
        bytes(REQUEST.success()),
        bytes(Message(Method.BINDING, MessageClass.INDICATION, bytes(12))),
        bytes(Message(Method.ALLOCATE, MessageClass.REQUEST, bytes(12))),
    ],
    ids=["nothing", "cut", "longer", "no cookie", "response", "indication", "allocate"],
)
def test_nothing_else_is_answered(data: bytes) -> None:
    assert stun_binding_response(data, ("192.0.2.7", 5062)) is None


def contact(params: str) -> NameAddr:
    return parse_name_addr(f"<sip:alice@192.0.2.7>{params}")


@pytest.mark.parametrize(
    ("params", "reg_id"),
    [("", 0), (";reg-id=1", 1), (";reg-id=2147483647", 2**31 - 1), (";reg-id=2147483648", 0), (";reg-id=0", 0),
     (";reg-id=-1", 0), (";reg-id=x", 0), (";reg-id=99999999999", 0)],
)  # fmt: skip
def test_reg_id(params: str, reg_id: int) -> None:
    assert reg_id_of(contact(params)) == reg_id


def test_instance() -> None:
    assert instance_of(contact(';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"')).endswith("E128")
    assert instance_of(contact("")) == ""
