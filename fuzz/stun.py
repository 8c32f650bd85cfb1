"""STUN: messages and their protection, channel data, streams, and what first bytes are."""

from __future__ import annotations

from parley.stun.addresses import decode_address, decode_xor_address, encode_address
from parley.stun.channel_data import decode_channel_data, encode_channel_data
from parley.stun.codes import Attribute
from parley.stun.dialects import datagram, stream
from parley.stun.errors import StunParseError
from parley.stun.framing import StreamFramer
from parley.stun.integrity import fingerprint_is_right, integrity_is_right, integrity_sha256_is_right, protect
from parley.stun.message import Message, decode_error
from parley.stun.turn.nonces import Nonces, features_of

KEY = b"0123456789abcdef"


def fuzz_one(data: bytes) -> None:
    """The same bytes as everything that they might be."""
    datagram(data)
    stream(data)
    _message(data)
    _channel(data)
    _stream(data)
    assert 0 <= features_of(data) < 1 << 24
    assert not Nonces(bytes(32), "r", features=0).is_good(data, "192.0.2.1", 0.0)


def _message(data: bytes) -> None:
    try:
        message = Message.parse(data)
    except StunParseError:
        return
    again = Message.parse(protect(message, KEY, sha256=bool(len(data) & 4), fingerprint=True))
    assert again.attributes == message.attributes
    assert (again.method, again.message_class) == (message.method, message.message_class)
    assert integrity_is_right(again, KEY) or integrity_sha256_is_right(again, KEY)
    assert fingerprint_is_right(again)
    fingerprint_is_right(message)
    integrity_is_right(message, KEY)
    integrity_sha256_is_right(message, KEY)
    for kind, value in message.attributes:
        for decode in (decode_address, lambda value: decode_xor_address(value, message.transaction_id)):
            try:
                address = decode(value)
            except StunParseError:
                continue
            assert decode_address(encode_address(address)) == address
        try:
            message.get_text(kind, 763)
            message.get_int(kind, len(value))
            decode_error(value)
        except StunParseError:
            pass
    message.unknown_attributes(frozenset(Attribute))


def _channel(data: bytes) -> None:
    try:
        channel, payload = decode_channel_data(data)
    except StunParseError:
        return
    assert decode_channel_data(encode_channel_data(channel, payload, padded=True)) == (channel, payload)


def _stream(data: bytes) -> None:
    """A stream gives the same messages however it is cut."""
    whole, pieces = StreamFramer(), StreamFramer()
    expected, found = [], []
    try:
        whole.feed(data)
        for message in whole.messages():
            expected.append(message)
        for at in range(0, len(data), 7):
            pieces.feed(data[at : at + 7])
            for message in pieces.messages():
                found.append(message)
        assert found == expected
    except StunParseError:
        assert found == expected[: len(found)]
