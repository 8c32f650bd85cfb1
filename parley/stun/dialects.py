"""What a client speaks, seen from its first bytes: many protocols come to one port (RFC 7983, MS-TURN section 2).

MS-TURN is looked for first, by the cookie attribute that each of its messages begins with.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from parley.stun.codes import HEADER_SIZE, MAGIC_COOKIE

MS_COOKIE: Final = b"\x00\x0f\x00\x04\x72\xc6\x4b\xc6"
MS_HEAD: Final = HEADER_SIZE + len(MS_COOKIE)
_PSEUDO_TLS_HEAD: Final = bytes.fromhex("160301002d010000290301")
_PSEUDO_TLS_TAIL: Final = bytes.fromhex("0000020018" + "0100")
_PSEUDO_TLS_SIZE: Final = 50


class Datagram(Enum):
    """What a datagram is."""

    STUN = "stun"
    CHANNEL_DATA = "channel-data"
    DTLS = "dtls"
    MS_TURN = "ms-turn"
    CLASSIC_STUN = "classic-stun"
    """STUN of RFC 3489, without a magic cookie."""
    OTHER = "other"


class Stream(Enum):
    """What a stream begins with."""

    TURN = "turn"
    TLS = "tls"
    MS_PSEUDO_TLS = "ms-pseudo-tls"
    MS_FRAMES = "ms-frames"
    OTHER = "other"


def is_ms_message(data: bytes, offset: int = 0) -> bool:
    """Whether an MS-TURN message begins there."""
    return data[offset + HEADER_SIZE : offset + MS_HEAD] == MS_COOKIE and data[offset] < 0x40


def datagram(data: bytes) -> Datagram:
    """What a datagram is that comes from a client of whom nothing is known."""
    if not data:
        return Datagram.OTHER
    first = data[0]
    if first >= 0x40:
        return Datagram.CHANNEL_DATA if first < 0x80 and len(data) >= 4 else Datagram.OTHER
    if is_ms_message(data):
        return Datagram.MS_TURN
    if first >= 0x14:
        return Datagram.DTLS
    if first >= 0x04 or len(data) < HEADER_SIZE:
        return Datagram.OTHER
    return Datagram.STUN if data[4:8] == MAGIC_COOKIE else Datagram.CLASSIC_STUN


def stream(data: bytes) -> Stream | None:
    """What a stream is that begins with these bytes; None when more of them are needed."""
    if not data:
        return None
    match data[0]:
        case 0x16:
            return _handshake(data)
        case 0x02 | 0x03:
            return _frames(data)
        case 0x00 | 0x01:
            return (
                Stream.TURN if data[4:8] == MAGIC_COOKIE else (None if MAGIC_COOKIE.startswith(data[4:8]) else Stream.OTHER)
            )
        case _:
            return Stream.OTHER


def _handshake(data: bytes) -> Stream | None:
    """Real TLS, or the fixed hello that stands for it: the length of the record tells them apart, or the suites."""
    if not _PSEUDO_TLS_HEAD.startswith(data[: len(_PSEUDO_TLS_HEAD)]):
        return Stream.TLS if b"\x16\x03".startswith(data[:2]) else Stream.OTHER
    if len(data) < len(_PSEUDO_TLS_HEAD):
        return None
    if len(data) < _PSEUDO_TLS_SIZE:
        return None
    tail = data[_PSEUDO_TLS_SIZE - len(_PSEUDO_TLS_TAIL) : _PSEUDO_TLS_SIZE]
    return Stream.MS_PSEUDO_TLS if tail == _PSEUDO_TLS_TAIL else Stream.TLS


def _frames(data: bytes) -> Stream | None:
    """Frames of MS-TURN: the first holds a control message, or data on a connection that came back."""
    if len(data) < 2:
        return None
    if data[1] != 0:
        return Stream.OTHER
    if data[0] == 0x03:
        return Stream.MS_FRAMES
    cookie = data[4 + HEADER_SIZE : 4 + MS_HEAD]
    if not MS_COOKIE.startswith(cookie):
        return Stream.OTHER
    return Stream.MS_FRAMES if len(cookie) == len(MS_COOKIE) else None
