"""Messages in a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.stun.channel_data import encode_channel_data
from parley.stun.codes import MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.framing import StreamFramer
from parley.stun.message import Message

stun = st.binary(max_size=40).map(
    lambda value: bytes(Message(Method.SEND, MessageClass.INDICATION, bytes(12), [(0x13, value)]))
)
channel = st.tuples(st.integers(0x4000, 0x7FFF), st.binary(max_size=40))
items = st.one_of(stun, channel)


@given(st.lists(items, max_size=8), st.lists(st.integers(1, 50)))
def test_a_stream_cut_anywhere(sent: list[bytes | tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(each if isinstance(each, bytes) else encode_channel_data(*each, padded=True) for each in sent)
    expected = [each if isinstance(each, bytes) else encode_channel_data(*each, padded=False) for each in sent]
    framer = StreamFramer()
    got: list[bytes] = []
    at = 0
    for size in [*cuts, len(stream) + 1]:
        framer.feed(stream[at : at + size])
        at += size
        got += framer.messages()
    assert got == expected
    assert framer.rest() == b""


def test_what_follows_a_message_can_be_taken() -> None:
    first = bytes(Message(Method.CONNECTION_BIND, MessageClass.REQUEST))
    framer = StreamFramer()
    framer.feed(first + b"GET / HTTP/1.1")
    assert next(framer.messages()) == first
    assert framer.rest() == b"GET / HTTP/1.1"
    assert framer.rest() == b""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x80\0\0\0", "0x80"),
        (b"\xff\0\0\0", "0xff"),
        (b"\0\1\0\0GET ", "magic cookie"),
        (b"\0\1\0\3\x21\x12", "3 bytes of attributes"),
    ],
)
def test_where_no_message_begins(data: bytes, text: str) -> None:
    framer = StreamFramer()
    framer.feed(data)
    with pytest.raises(StunParseError, match=text):
        list(framer.messages())
