"""Streams: whatever the pieces are, the same messages come out.

The first byte says how many bytes of sizes follow; the pieces have these sizes, over and over. The rest is the stream.
"""

from __future__ import annotations

from itertools import cycle

from fuzz.common import text_of
from parley.sip.errors import FramingError, SipParseError
from parley.sip.framing import KeepAlive, StreamFramer
from parley.sip.limits import Limits
from parley.sip.message import Response, parse_message

LIMITS = Limits(message=400, head=300, body=120)
"""Small ones, that the fuzzer reaches."""


def fuzz_one(data: bytes) -> None:
    """Feeds a stream in pieces and at once."""
    count = data[0] % 16 if data else 0
    sizes = [size or 1 for size in data[1 : 1 + count]] or [1]
    stream = data[1 + count :]
    whole = StreamFramer(LIMITS)
    try:
        expected = whole.feed(stream)
    except FramingError as error:
        _piecewise_refused(stream, sizes, error)
        _unreadable(whole)
        return
    framer = StreamFramer(LIMITS)
    found: list[bytes | KeepAlive] = []
    at = 0
    starts: list[int] = []
    for size in cycle(sizes):
        if at >= len(stream):
            break
        found += framer.feed(stream[at : at + size], float(at))
        starts.append(at)
        at += size
        _begun(framer, stream[:at], starts)
    assert found == expected, (found, expected)
    assert framer.buffered == whole.buffered
    for item in expected:
        if isinstance(item, bytes):
            _whole_message(item)


def _begun(framer: StreamFramer, fed: bytes, starts: list[int]) -> None:
    """The time of the unfinished message is that of the piece its first byte came in."""
    if framer.buffered == 0:
        assert framer.since is None, framer.since
        return
    first = len(fed) - framer.buffered
    assert framer.since == max(start for start in starts if start <= first), (framer.since, first, starts)


def _piecewise_refused(stream: bytes, sizes: list[int], error: FramingError) -> None:
    """What is refused at once is refused in pieces too, in the same words, however it is cut."""
    framer = StreamFramer(LIMITS)
    at = 0
    try:
        for size in cycle(sizes):
            assert at < len(stream), f"refused at once: {error}"
            framer.feed(stream[at : at + size])
            at += size
    except FramingError as other:
        assert (other.status, other.reason) == (error.status, error.reason), (other, error)
        _unreadable(framer)


def _unreadable(framer: StreamFramer) -> None:
    assert framer.buffered == 0
    assert framer.since is None
    try:
        framer.feed(b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n")
    except FramingError as error:
        assert error.status == 400
    else:
        raise AssertionError("a stream that could not be read is read again")


def _whole_message(data: bytes) -> None:
    """Parser and framer agree where a message ends."""
    assert len(data) <= LIMITS.message
    try:
        message = parse_message(data, LIMITS)
    except SipParseError as error:
        assert error.reason != "Body Shorter Than Content-Length", text_of(data)
        return
    # A status line that ends with the code is written with the space that has to follow it.
    mended = isinstance(message, Response) and data.partition(b"\r\n")[0].count(b" ") == 1
    assert len(bytes(message)) == len(data) + mended, text_of(data)
    assert message.content_length == len(message.body), text_of(data)
