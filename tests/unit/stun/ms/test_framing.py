"""Frames of MS-TURN over TCP, and the hellos that precede them on port 443."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.stun.errors import StunParseError
from parley.stun.ms.framing import Frame, FrameReader, FrameType, encode_data, encode_frame
from parley.stun.ms.pseudo_tls import (
    CLIENT_HELLO_SIZE,
    SERVER_HELLO_SIZE,
    client_hello,
    is_client_hello,
    is_server_hello,
    may_become_client_hello,
    server_hello,
)

frames = st.builds(Frame, st.sampled_from(FrameType), st.binary(max_size=60))


def test_a_frame() -> None:
    assert encode_frame(FrameType.CONTROL, b"ab") == b"\2\0\0\2ab"
    assert encode_frame(FrameType.DATA, b"") == b"\3\0\0\0"


@given(st.lists(frames, max_size=6), st.data())
def test_frames_arrive_whole_however_the_stream_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(*frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader()
    found: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == sent
    assert reader.waiting == 0


def test_part_of_a_frame_waits() -> None:
    reader = FrameReader()
    assert reader.feed(b"\2\0\0\3a") == []
    assert reader.waiting == 5
    assert reader.feed(b"bc\3") == [Frame(FrameType.CONTROL, b"abc")]
    assert reader.waiting == 1


@pytest.mark.parametrize("head", [b"\0\0\0\0", b"\1\0\0\0", b"\4\0\0\0", b"\2\1\0\0", b"\x16\3\1\0"])
def test_what_is_no_frame(head: bytes) -> None:
    with pytest.raises(StunParseError, match="a frame begins with"):
        FrameReader().feed(head)


def test_a_large_piece_takes_several_frames() -> None:
    piece = bytes(range(256)) * 300
    found = FrameReader().feed(encode_data(piece))
    assert len(found) == 2
    assert b"".join(frame.payload for frame in found) == piece
    assert encode_data(b"") == b""


def test_hellos() -> None:
    asked = client_hello(bytes(range(32)))
    assert len(asked) == CLIENT_HELLO_SIZE == 50
    assert asked.hex() == "160301002d010000290301" + bytes(range(32)).hex() + "00000200180100"
    answer = server_hello(bytes(range(32)), bytes(range(32, 64)))
    assert len(answer) == SERVER_HELLO_SIZE == 83
    assert (
        answer.hex()
        == "160301004e020000460301" + bytes(range(32)).hex() + "20" + bytes(range(32, 64)).hex() + "0018000e000000"
    )
    assert is_client_hello(asked + b"more")
    assert is_server_hello(answer)
    assert not is_client_hello(answer)
    assert not is_server_hello(asked)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 50))
def test_the_beginning_of_a_hello_may_become_one(random: bytes, size: int) -> None:
    begun = client_hello(random)[:size]
    assert may_become_client_hello(begun)
    assert is_client_hello(begun) is (size == CLIENT_HELLO_SIZE)


@pytest.mark.parametrize("at", [0, 4, 5, 10, 43, 47, 49])
def test_a_hello_with_other_fixed_bytes_is_none(at: int) -> None:
    asked = bytearray(client_hello(bytes(32)))
    asked[at] ^= 1
    assert not is_client_hello(bytes(asked))
    assert not may_become_client_hello(bytes(asked))
