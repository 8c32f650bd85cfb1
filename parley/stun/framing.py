"""Messages in a stream: STUN messages and ChannelData, each a multiple of four bytes long (RFC 8656 section 12.5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parley.stun.codes import HEADER_SIZE, MAGIC_COOKIE
from parley.stun.errors import StunParseError

MAX_MESSAGE: Final = HEADER_SIZE + 0xFFFF


class StreamFramer:
    """Cuts a stream into STUN messages and ChannelData messages, these without padding.

    It keeps at most one unfinished message and what was fed with its end, so whoever feeds it bounds its memory.
    """

    __slots__ = ("_at", "_buffer")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """More bytes of the stream."""
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def messages(self) -> Iterator[bytes]:
        """The messages that are whole. Raises StunParseError where no message begins: the stream is of no use then.

        Each message leaves the framer as it is yielded, so `rest` is what follows the last one that was taken.
        """
        while (message := self._next()) is not None:
            yield message

    def rest(self) -> bytes:
        """What was fed and is in no message yet; the framer is empty after it."""
        rest, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return rest

    def _next(self) -> bytes | None:
        data, at = self._buffer, self._at
        if len(data) < at + 4:
            return None
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        kind = data[at] & 0xC0
        if kind == 0x40:
            end = at + 4 + size
            after = end + (-size & 3)
        elif kind == 0x00:
            if not MAGIC_COOKIE.startswith(data[at + 4 : at + 8]):
                raise StunParseError("a message in a stream lacks the magic cookie")
            if size % 4:
                raise StunParseError(f"a message in a stream says it has {size} bytes of attributes")
            end = after = at + HEADER_SIZE + size
        else:
            raise StunParseError(f"no message begins with 0x{data[at]:02x}")
        if len(data) < after:
            return None
        self._at = after
        return data[at:end]
