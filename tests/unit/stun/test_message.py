"""STUN messages: the published vectors, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.stun.addresses import Address, unpack_ip
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.integrity import (
    fingerprint_is_right,
    integrity_is_right,
    integrity_sha256_is_right,
    long_term_key,
    protect,
    short_term_key,
)
from parley.stun.message import Message

# RFC 5769, sections 2.1 to 2.4.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RESPONSE4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599fd9e90c3"
    "8c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
LONG_TERM = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f7267000008"
    "0014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)
PASSWORD = short_term_key("VOkJxbRl1RmTxUk/WvJxBt")


def test_published_request() -> None:
    message = Message.parse(REQUEST)
    assert (message.method, message.message_class) == (Method.BINDING, MessageClass.REQUEST)
    assert message.get_text(Attribute.SOFTWARE, 763) == "STUN test client"
    assert message.get_text(Attribute.USERNAME, 508) == "evtj:h6vY"
    assert message.get_int(Attribute.PRIORITY) == 0x6E0001FF
    assert integrity_is_right(message, PASSWORD)
    assert fingerprint_is_right(message)
    assert not integrity_is_right(message, PASSWORD + b"x")
    assert not integrity_sha256_is_right(message, PASSWORD)


@pytest.mark.parametrize(
    ("data", "address"),
    [(RESPONSE4, Address("192.0.2.1", 32853)), (RESPONSE6, Address("2001:db8:1234:5678:11:2233:4455:6677", 32853))],
)
def test_published_responses(data: bytes, address: Address) -> None:
    message = Message.parse(data)
    assert message.message_class is MessageClass.SUCCESS
    assert message.get_xor_address(Attribute.XOR_MAPPED_ADDRESS) == address
    assert integrity_is_right(message, PASSWORD)
    assert fingerprint_is_right(message)


def test_published_request_with_long_term_credentials() -> None:
    message = Message.parse(LONG_TERM)
    username = message.get_text(Attribute.USERNAME, 508)
    realm = message.get_text(Attribute.REALM, 763)
    assert username == "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
    assert realm == "example.org"
    assert message.get(Attribute.NONCE) == b"f//499k954d6OL34oL9FSTvy64sA"
    assert integrity_is_right(message, long_term_key(username, realm, "TheMatrIX"))  # as SASLprep leaves the password


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "has 0 bytes"),
        (REQUEST[:19], "has 19 bytes"),
        (b"\x80" + REQUEST[1:], "first two bits"),
        (REQUEST[:4] + b"\0\0\0\0" + REQUEST[8:], "magic cookie"),
        (REQUEST[:-4], "says it has 88 bytes"),
        (REQUEST[:3] + b"\x57" + REQUEST[4:], "says it has 87 bytes"),
        (REQUEST[:22] + b"\xff\xff" + REQUEST[24:], "reaches beyond"),
        (bytes(Message(1, MessageClass.REQUEST, bytes(12), [(0x8028, bytes(4)), (0x8022, b"")])), "not the last"),
        (bytes(Message(1, MessageClass.REQUEST, bytes(12), [(0x8022, b"")] * 65)), "more than 64"),
    ],
)
def test_what_is_no_message(data: bytes, text: str) -> None:
    with pytest.raises(StunParseError, match=text):
        Message.parse(data)


def test_what_follows_the_protection_is_not_read() -> None:
    data = protect(Message(Method.BINDING, MessageClass.REQUEST), b"key")
    late = data + bytes.fromhex("0006000461626364")
    late = late[:2] + (len(late) - 20).to_bytes(2, "big") + late[4:]
    message = Message.parse(late)
    assert integrity_is_right(message, b"key")
    assert message.get(Attribute.USERNAME) is None


def test_error_response() -> None:
    request = Message(Method.ALLOCATE, MessageClass.REQUEST)
    error = Message.parse(bytes(request.error(ErrorCode.ALLOCATION_QUOTA_REACHED)))
    assert error.transaction_id == request.transaction_id
    assert error.error_code == (486, "Allocation quota reached")


hosts = st.binary(min_size=4, max_size=4).map(unpack_ip) | st.binary(min_size=16, max_size=16).map(unpack_ip)
addresses = st.builds(Address, hosts, st.integers(0, 65535))
plain = st.integers(0, 0xFFFF).filter(lambda kind: kind not in (0x0008, 0x001C, 0x8028))


@given(
    st.integers(0, 0xFFF), st.sampled_from(MessageClass), st.binary(min_size=12, max_size=12),
    st.lists(st.tuples(plain, st.binary(max_size=40)), max_size=12), st.binary(max_size=20), st.booleans(), st.booleans(),
)  # fmt: skip
def test_round_trip(
    method: int,
    kind: MessageClass,
    transaction: bytes,
    attributes: list[tuple[int, bytes]],
    key: bytes,
    sha256: bool,
    mark: bool,
) -> None:
    message = Message.parse(protect(Message(method, kind, transaction, attributes), key, sha256=sha256, fingerprint=mark))
    assert (message.method, message.message_class, message.transaction_id) == (method, kind, transaction)
    assert message.attributes == attributes
    assert fingerprint_is_right(message) is mark
    assert integrity_is_right(message, key) is (bool(key) and not sha256)
    assert integrity_sha256_is_right(message, key) is (bool(key) and sha256)


@given(addresses, st.binary(min_size=12, max_size=12))
def test_addresses_round_trip(address: Address, transaction: bytes) -> None:
    message = Message(1, MessageClass.SUCCESS, transaction).add_xor_address(Attribute.XOR_MAPPED_ADDRESS, address)
    assert Message.parse(bytes(message)).get_xor_address(Attribute.XOR_MAPPED_ADDRESS) == address


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    for candidate in (data, REQUEST[:8] + data, REQUEST[:2] + len(data).to_bytes(2, "big") + REQUEST[4:20] + data):
        with contextlib.suppress(StunParseError):
            Message.parse(candidate)
