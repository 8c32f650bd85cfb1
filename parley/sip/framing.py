"""Cutting a byte stream into messages (RFC 3261 section 18.3, keep-alives of RFC 5626 section 3.5.1).

On a stream every message needs a Content-Length. Double CRLF between messages is a ping the peer wants answered with a
single CRLF; a single one is its pong. What cannot be cut for certain ends the stream: two readings of one length would let
a peer smuggle a message in.

The framer has no timers. It tells how many bytes of an unfinished message it holds and since when, and the shell closes a
stream that keeps it waiting too long.
"""

from __future__ import annotations

import re
from enum import Enum

from parley.sip.errors import FramingError, SipParseError
from parley.sip.limits import DEFAULT_LIMITS, Limits
from parley.sip.message import Request, parse_message

# A value on its line, or after a fold; whatever else stands there is found too, and refused.
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_BLANKS = b" \t\r\n"
_LONGEST_NUMBER = 100


class KeepAlive(Enum):
    """What came between messages."""

    PING = "ping"
    """CRLF CRLF: answer with one CRLF."""
    PONG = "pong"
    """A single CRLF."""


class StreamFramer:
    """Takes what a connection read and gives whole messages, in order."""

    __slots__ = ("_buffer", "_failed", "_limits", "_need", "_scanned", "_since")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._buffer: bytes = b""
        self._limits: Limits = limits
        self._need: int = 0
        self._scanned: int = 0
        self._since: float | None = None
        self._failed: bool = False

    @property
    def buffered(self) -> int:
        """Bytes of a message that is not complete yet; line ends that may become a keep-alive do not count."""
        return len(self._buffer) if self._buffer.strip(b"\r\n") else 0

    @property
    def since(self) -> float | None:
        """When the first byte of the unfinished message came, as `feed` was told; None when there is none."""
        return self._since

    def feed(self, data: bytes, now: float = 0.0) -> list[bytes | KeepAlive]:
        """The messages that are complete now, and keep-alives; ``now`` is the time in seconds.

        Raises FramingError with the status to answer before the stream is closed; nothing can be read from it after that.
        Messages that were complete before the mistake are lost with it: they came in the same read as the attack.
        """
        if self._failed:
            raise FramingError(400, "Stream Cannot Be Read")
        buffer = self._buffer + data if self._buffer else data
        if len(buffer) < self._need:
            self._buffer = buffer
            return []
        self._need = 0
        out: list[bytes | KeepAlive] = []
        try:
            at = self._cut(buffer, out)
        except FramingError:
            self._failed = True
            self._buffer = b""
            self._since = None
            raise
        self._buffer = buffer[at:]
        if not self.buffered:
            self._since = None
        elif at or self._since is None:
            self._since = now
        return out

    def _cut(self, buffer: bytes, out: list[bytes | KeepAlive]) -> int:
        """Where the unfinished rest begins."""
        at = 0
        end = len(buffer)
        while at < end:
            if buffer[at] in b"\r\n":
                taken = self._keep_alive(buffer, at, out)
                if taken == 0:
                    break
                at += taken
                continue
            size = self._message_size(buffer, at)
            if size == 0:
                break
            if at + size > end:
                self._need = size
                break
            out.append(buffer[at : at + size])
            at += size
        return at

    def _keep_alive(self, buffer: bytes, at: int, out: list[bytes | KeepAlive]) -> int:
        """Bytes of CRLFs taken; 0 when the next byte must be awaited."""
        rest = buffer[at : at + 4]
        if rest == _HEAD_END:
            out.append(KeepAlive.PING)
            return 4
        if rest in (b"\r", b"\r\n", b"\r\n\r"):
            return 0  # what follows decides
        if rest[:2] == b"\r\n":
            out.append(KeepAlive.PONG)
            return 2
        return 1  # a stray CR or LF before a message is skipped (RFC 3261 section 7.5)

    def _message_size(self, buffer: bytes, at: int) -> int:
        """Bytes of the message that begins at ``at``; 0 when its head is not complete."""
        # What was searched before is not searched again, but for the line end that a read may have cut.
        head_end = buffer.find(_HEAD_END, max(at, self._scanned - 3) if at == 0 else at)
        if head_end < 0:
            # Up to three bytes may be of the end that is awaited, and two of those count as head.
            if len(buffer) - at - 1 > self._limits.head:
                raise FramingError(513, "Message Head Too Large", self._salvage(buffer[at:]))
            self._scanned = len(buffer) - at
            return 0
        self._scanned = 0
        head = buffer[at : head_end + 2]
        if len(head) > self._limits.head:
            raise FramingError(513, "Message Head Too Large", self._salvage(head))
        length = self._length(head)
        if length > self._limits.body:
            raise FramingError(413, "Body Too Large", self._salvage(head))
        size = head_end + 4 - at + length
        if size > self._limits.message:
            raise FramingError(513, "Message Too Large", self._salvage(head))
        return size

    def _length(self, head: bytes) -> int:
        found: list[bytes] = _LENGTH.findall(head)
        if not found:
            raise FramingError(400, "Missing Content-Length", self._salvage(head))
        lengths: set[int] = set()
        for value in found:
            digits = value.strip(_BLANKS)
            if not digits.isdigit() or len(digits) > _LONGEST_NUMBER:
                raise FramingError(400, "Bad Content-Length", self._salvage(head))
            lengths.add(int(digits))
        if len(lengths) > 1:
            raise FramingError(400, "Several Content-Length Headers", self._salvage(head))
        return lengths.pop()

    def _salvage(self, head: bytes) -> Request | None:
        """What can be read of the request, so that it can be answered."""
        lines = _LENGTH.sub(b"", head[: self._limits.head]).split(b"\r\n")
        if len(lines) > 1 and len(head) > self._limits.head:
            lines.pop()  # it is cut
        try:
            message = parse_message(b"\r\n".join(line for line in lines if line) + b"\r\n\r\n", self._limits)
        except SipParseError as error:
            return error.message
        return message if isinstance(message, Request) else None
