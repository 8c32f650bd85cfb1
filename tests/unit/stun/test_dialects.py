"""What first bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.stun.codes import MessageClass, Method
from parley.stun.dialects import MS_COOKIE, Datagram, Stream, datagram, stream
from parley.stun.message import Message

TURN = bytes(Message(Method.ALLOCATE, MessageClass.REQUEST, bytes(12)))
MS = b"\0\3\0\x0c" + bytes(range(16)) + MS_COOKIE + b"\x80\x08\0\4"
PSEUDO_TLS = bytes.fromhex("160301002d010000290301") + bytes(32) + bytes.fromhex("00000200180100")
SAME_LENGTH_TLS = PSEUDO_TLS[:-4] + b"\x2f\0\1\0"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Datagram.OTHER),
        (TURN, Datagram.STUN),
        (MS, Datagram.MS_TURN),
        (MS[:28], Datagram.MS_TURN),
        (MS[:27], Datagram.CLASSIC_STUN),
        (b"\0\1\0\0" + bytes(16), Datagram.CLASSIC_STUN),
        (b"\0\1\0\0", Datagram.OTHER),
        (b"\x16\xfe\xff", Datagram.DTLS),
        (b"\x40\0\0\0", Datagram.CHANNEL_DATA),
        (b"\x4f\xff\0\0", Datagram.CHANNEL_DATA),
        (b"\x40\0\0", Datagram.OTHER),
        (b"\x7f\xff\0\0", Datagram.CHANNEL_DATA),
        (b"\x80\0\0\0", Datagram.OTHER),
        (b"\x04" + bytes(30), Datagram.OTHER),
    ],
)
def test_datagrams(data: bytes, kind: Datagram) -> None:
    assert datagram(data) is kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (TURN, Stream.TURN),
        (PSEUDO_TLS, Stream.MS_PSEUDO_TLS),
        (SAME_LENGTH_TLS, Stream.TLS),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Stream.TLS),
        (b"\x02\x00\x00\x24" + MS, Stream.MS_FRAMES),
        (b"\x03\x00\x00\x04abcd", Stream.MS_FRAMES),
        (b"\x02\x00" + TURN + bytes(20), Stream.OTHER),
        (b"\x02\x01", Stream.OTHER),
        (b"\0\1\0\0GET ", Stream.OTHER),
        (b"GET / HTTP/1.1", Stream.OTHER),
        (b"\x16\x02", Stream.OTHER),
    ],
)
def test_streams(data: bytes, kind: Stream) -> None:
    assert stream(data) is kind


@pytest.mark.parametrize("data", [TURN, PSEUDO_TLS, b"\x02\x00\x00\x24" + MS])
def test_a_stream_is_told_as_soon_as_it_can_be_and_not_before(data: bytes) -> None:
    seen = [stream(data[:size]) for size in range(len(data) + 1)]
    first = next(at for at, kind in enumerate(seen) if kind is not None)
    assert set(seen[first:]) == {stream(data)}


@given(st.binary(max_size=80))
def test_any_bytes_are_something(data: bytes) -> None:
    assert isinstance(datagram(data), Datagram)
    kind = stream(data)
    assert kind is None or stream(data + b"x") is kind
