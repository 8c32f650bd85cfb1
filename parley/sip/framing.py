"""Cutting a byte stream into messages (RFC 3261 section 18.3, keep-alives of RFC 5626 section 3.5.1).

On a stream every message needs a Content-Length. Double CRLF between messages is a ping the peer wants answered with a
single CRLF; a single one is its pong. The shell closes a stream whose first byte of an unfinished message is too old.
"""

from __future__ import annotations

import re
from enum import Enum

from parley.sip.errors import FramingError, SipParseError
from parley.sip.limits import DEFAULT_LIMITS, Limits
from parley.sip.message import Request, parse_message

_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,10})[ \t]*(?=\r\n)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"


class KeepAlive(Enum):
    """What came between messages."""

    PING = "ping"
    """CRLF CRLF: answer with one CRLF."""
    PONG = "pong"
    """A single CRLF."""


class StreamFramer:
    """Takes what a connection read and gives whole messages, in order."""

    __slots__ = ("_buffer", "_limits", "_need")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._buffer: bytes = b""
        self._limits: Limits = limits
        self._need: int = 0

    @property
    def buffered(self) -> int:
        """Bytes of a message that is not complete yet; line ends that may become a keep-alive do not count."""
        return len(self._buffer) if self._buffer.strip(b"\r\n") else 0

    def feed(self, data: bytes) -> list[bytes | KeepAlive]:
        """The messages that are complete now. Raises FramingError; nothing can be read from the stream after that."""
        buffer = self._buffer + data if self._buffer else data
        if len(buffer) < self._need:
            self._buffer = buffer
            return []
        out: list[bytes | KeepAlive] = []
        at = 0
        end = len(buffer)
        self._need = 0
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
        self._buffer = buffer[at:]
        return out

    def _keep_alive(self, buffer: bytes, at: int, out: list[bytes | KeepAlive]) -> int:
        """Bytes of CRLFs taken; 0 when the next byte must be awaited."""
        if buffer[at : at + 4] == _HEAD_END:
            out.append(KeepAlive.PING)
            return 4
        rest = buffer[at : at + 4]
        if rest in (b"\r", b"\r\n", b"\r\n\r"):
            return 0  # what follows decides
        if rest[:2] == b"\r\n":
            out.append(KeepAlive.PONG)
            return 2
        return 1  # a stray CR or LF before a message is skipped (RFC 3261 section 7.5)

    def _message_size(self, buffer: bytes, at: int) -> int:
        """Bytes of the message that begins at ``at``; 0 when its head is not complete."""
        head_end = buffer.find(_HEAD_END, at)
        if head_end < 0:
            if len(buffer) - at > self._limits.head:
                raise FramingError(513, "Message Head Too Large", self._salvage(buffer[at:]))
            return 0
        head = buffer[at : head_end + 2]
        if len(head) > self._limits.head:
            raise FramingError(513, "Message Head Too Large", self._salvage(head))
        found = _LENGTH.findall(head)
        if not found:
            raise FramingError(400, "Missing Content-Length", self._salvage(head))
        length = int(found[0])
        if any(int(other) != length for other in found):
            raise FramingError(400, "Bad Content-Length", self._salvage(head))
        size = head_end + 4 - at + length
        if length > self._limits.body:
            raise FramingError(413, "Body Too Large", self._salvage(head))
        if size > self._limits.message:
            raise FramingError(513, "Message Too Large", self._salvage(head))
        return size

    @staticmethod
    def _salvage(head: bytes) -> Request | None:
        cut = head[: head.rfind(b"\r\n") + 2] if b"\r\n" in head else head
        lines = [line for line in cut.split(b"\r\n") if not line.lower().startswith((b"content-length", b"l:", b"l "))]
        try:
            message = parse_message(b"\r\n".join(line for line in lines if line) + b"\r\n\r\n")
        except SipParseError as error:
            return error.message
        return message if isinstance(message, Request) else None
