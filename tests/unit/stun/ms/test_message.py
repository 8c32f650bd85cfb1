"""MS-TURN messages: a vector that a client's own code accepts, what is refused, and that no other STUN is taken for one."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parley.stun import integrity as rfc_integrity
from parley.stun.addresses import Address, unpack_ip
from parley.stun.codes import MessageClass
from parley.stun.errors import StunParseError
from parley.stun.message import Message
from parley.stun.ms.codes import COOKIE_ATTRIBUTE, MsAttribute, MsErrorCode, MsType
from parley.stun.ms.integrity import integrity_is_right, integrity_key, protect
from parley.stun.ms.message import MsMessage, is_ms_message

USERNAME = base64.b64decode("AQAAIAAAAAAB2AAAicPhc3Wshc44aYg+01akiDkB+MVRWmptWh/p5dNQUAfbwXIe5qUhfQ==")
PASSWORD = base64.b64decode("2QBUYr2MEED0aX3gD8xzn+MrUok=")
REALM = "example.org"
KEY = bytes.fromhex("4d96e7a2d224b99794fd2916676cfa8f")
ALLOCATE = (
    MsMessage(MsType.ALLOCATE, bytes(range(0xA0, 0xB0)))
    .add_int(MsAttribute.MS_VERSION, 1)
    .add(MsAttribute.REALM, REALM.encode())
    .add(MsAttribute.NONCE, b"n0nce-0001")
    .add(MsAttribute.USERNAME, USERNAME)
)


def test_the_key_of_the_vector() -> None:
    assert integrity_key(USERNAME, REALM, PASSWORD) == KEY


def test_the_allocate_of_the_vector() -> None:
    data = protect(ALLOCATE, KEY)
    assert len(data) == 145
    assert data[-20:].hex() == "6402a2e4f1547f0cfe772ba775bb354fde8752da"
    message = MsMessage.parse(data)
    assert message.get(MsAttribute.REALM) == b"example.org"
    assert message.get_int(MsAttribute.MS_VERSION) == 1
    assert integrity_is_right(message, KEY)
    assert not integrity_is_right(message, KEY[::-1])


def test_the_first_request_of_a_client_has_36_bytes_and_no_integrity() -> None:
    data = bytes(MsMessage(MsType.ALLOCATE).add_int(MsAttribute.MS_VERSION, 1))
    assert len(data) == 36
    assert data[20:28] == COOKIE_ATTRIBUTE
    assert not integrity_is_right(MsMessage.parse(data), KEY)


def test_text_of_64_bytes_gets_no_further_block() -> None:
    padded = MsMessage(MsType.SEND, bytes(16)).add(MsAttribute.DATA, bytes(32))
    assert len(bytes(padded)) == 64
    longer = MsMessage(MsType.SEND, bytes(16)).add(MsAttribute.DATA, bytes(33))
    for message in (padded, longer):
        assert integrity_is_right(MsMessage.parse(protect(message, KEY)), KEY)


ID = bytes(range(16))
VALID = protect(ALLOCATE, KEY)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "has 0 bytes"),
        (VALID[:27], "has 27 bytes"),
        (b"\x40" + VALID[1:], "does not begin with its cookie"),
        (VALID[:24] + b"\x21\x12\xa4\x42" + VALID[28:], "does not begin with its cookie"),
        (VALID[:-1], "says it has 125 bytes of attributes and has 124"),
        (VALID + b"\0", "says it has 125 bytes of attributes and has 126"),
        (bytes(MsMessage(3, ID).add(0x8008, b""))[:-2] + b"\0\1", "reaches beyond"),
        (bytes(MsMessage(3, ID).add(0x0008, bytes(20)).add(0x0013, b"")), "not the last"),
        (bytes(MsMessage(3, ID).add(0x0008, bytes(19))), "has 19 bytes and not 20"),
        (bytes(MsMessage(3, ID, attributes=[(0x8008, b"")] * 65)), "more than 64"),
        (b"\0\3\0\x0a" + bytes(16) + COOKIE_ATTRIBUTE + b"\0\1", "reaches beyond"),
    ],
)
def test_what_is_no_message(data: bytes, text: str) -> None:
    with pytest.raises(StunParseError, match=text):
        MsMessage.parse(data)


@pytest.mark.parametrize("value", [b"", b"\0\1", bytes(8), b"\0\2" + bytes(6), b"\0\1" + bytes(18)])
def test_what_is_no_address(value: bytes) -> None:
    message = MsMessage(3, bytes(16)).add(MsAttribute.DESTINATION_ADDRESS, value).add(MsAttribute.XOR_MAPPED_ADDRESS, value)
    with pytest.raises(StunParseError):
        message.get_address(MsAttribute.DESTINATION_ADDRESS)
    with pytest.raises(StunParseError):
        _ = message.mapped_address


def test_attributes_of_a_wrong_size() -> None:
    message = MsMessage(3).add(MsAttribute.LIFETIME, b"\0\0\1").add(MsAttribute.MS_SEQUENCE_NUMBER, bytes(23))
    with pytest.raises(StunParseError, match="has 3 bytes and not 4"):
        message.get_int(MsAttribute.LIFETIME)
    with pytest.raises(StunParseError, match="has 23 bytes and not 24"):
        _ = message.sequence


def test_the_mask_of_a_mapped_address_is_the_beginning_of_the_transaction_id() -> None:
    message = MsMessage(MsType.ALLOCATE_RESPONSE, bytes.fromhex("0102030405060708090a0b0c0d0e0f10"))
    message.add_mapped_address(Address("192.0.2.1", 0x1234))
    assert message.get(MsAttribute.XOR_MAPPED_ADDRESS) == bytes.fromhex("0001 1336 c1020105".replace(" ", ""))
    assert message.mapped_address == Address("192.0.2.1", 0x1234)


def test_error_response() -> None:
    error = MsMessage.parse(bytes(ALLOCATE.error(MsErrorCode.STALE_NONCE)))
    assert error.kind == MsType.ALLOCATE_ERROR
    assert error.transaction_id == ALLOCATE.transaction_id
    assert error.error_code == (438, "Stale nonce")
    assert ALLOCATE.success().kind == MsType.ALLOCATE_RESPONSE


def test_attributes_that_must_be_understood() -> None:
    message = MsMessage(3, attributes=[(0x7777, b""), (0x0006, b""), (0x9999, b""), (0x0002, b"x"), (0x7777, b"")])
    assert message.unknown_attributes({0x0006}) == [0x7777, 0x0002]


hosts = st.binary(min_size=4, max_size=4).map(unpack_ip) | st.binary(min_size=16, max_size=16).map(unpack_ip)
addresses = st.builds(Address, hosts, st.integers(0, 65535))
transactions = st.binary(min_size=16, max_size=16)
attributes = st.lists(
    st.tuples(st.integers(0, 0xFFFF).filter(lambda kind: kind != 0x0008), st.binary(max_size=40)), max_size=12
)
kinds = st.integers(0, 0x3FFF)


@given(kinds, transactions, attributes, st.none() | st.binary(max_size=20))
def test_round_trip(kind: int, transaction: bytes, given_: list[tuple[int, bytes]], key: bytes | None) -> None:
    message = MsMessage(kind, transaction, given_)
    found = MsMessage.parse(bytes(message) if key is None else protect(message, key))
    assert (found.kind, found.transaction_id, found.attributes) == (kind, transaction, given_)
    assert (found.integrity_at >= 0) is (key is not None)
    assert key is None or integrity_is_right(found, key)


@given(addresses, addresses, transactions, st.binary(min_size=20, max_size=20), st.integers(0, 0xFFFFFFFF))
def test_values_round_trip(plain: Address, mapped: Address, transaction: bytes, connection: bytes, number: int) -> None:
    message = MsMessage(3, transaction).add_address(MsAttribute.REMOTE_ADDRESS, plain)
    found = MsMessage.parse(bytes(message.add_mapped_address(mapped).add_sequence(connection, number)))
    assert found.get_address(MsAttribute.REMOTE_ADDRESS) == plain
    assert found.mapped_address == mapped
    assert found.sequence == (connection, number)


@given(kinds, transactions, attributes, st.none() | st.binary(max_size=20))
def test_the_other_parser_takes_no_ms_turn(
    kind: int, transaction: bytes, given_: list[tuple[int, bytes]], key: bytes | None
) -> None:
    assume(transaction[:4] != b"\x21\x12\xa4\x42")
    message = MsMessage(kind, transaction, given_)
    with pytest.raises(StunParseError):
        Message.parse(bytes(message) if key is None else protect(message, key))


@given(
    st.integers(0, 0xFFF), st.sampled_from(MessageClass), st.binary(min_size=12, max_size=12), attributes,
    st.none() | st.binary(min_size=1, max_size=20),
)  # fmt: skip
def test_this_parser_takes_no_stun_of_the_rfcs(
    method: int, kind: MessageClass, transaction: bytes, given_: list[tuple[int, bytes]], key: bytes | None
) -> None:
    assume(not given_ or given_[0][0] != MsAttribute.MAGIC_COOKIE)
    data = rfc_integrity.protect(Message(method, kind, transaction, given_), key or b"", fingerprint=True)
    assert not is_ms_message(data)
    with pytest.raises(StunParseError):
        MsMessage.parse(data)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    size = (len(data) + 8).to_bytes(2, "big")
    for candidate in (data, VALID[:28] + data, VALID[:2] + size + VALID[4:28] + data):
        with contextlib.suppress(StunParseError):
            MsMessage.parse(candidate)
