"""The hello exchange that makes MS-TURN on port 443 look like TLS (MS-TURN section 2.1); what follows is not encrypted.

Both hellos have fixed bytes around a time with random bytes, and, in the server's, a session id.
"""

from __future__ import annotations

from typing import Final

_CLIENT_HEAD: Final = bytes.fromhex("160301002d 01000029 0301")
_CLIENT_TAIL: Final = bytes.fromhex("00 00020018 0100")
_SERVER_HEAD: Final = bytes.fromhex("160301004e 02000046 0301")
_SERVER_MIDDLE: Final = bytes.fromhex("20")
_SERVER_TAIL: Final = bytes.fromhex("0018 00 0e000000")
_RANDOM: Final = 32
_SESSION: Final = 32
_HEAD: Final = 11

CLIENT_HELLO_SIZE: Final = _HEAD + _RANDOM + len(_CLIENT_TAIL)
SERVER_HELLO_SIZE: Final = _HEAD + _RANDOM + 1 + _SESSION + len(_SERVER_TAIL)


def client_hello(random: bytes) -> bytes:
    """The 50 bytes a client begins with; ``random``: 32 bytes, the first four by custom the Unix time."""
    return _CLIENT_HEAD + random + _CLIENT_TAIL


def is_client_hello(data: bytes) -> bool:
    """Whether bytes begin with a client's hello; the one of real TLS is longer and offers other ciphers."""
    return data.startswith(_CLIENT_HEAD) and data[_HEAD + _RANDOM : CLIENT_HELLO_SIZE] == _CLIENT_TAIL


def may_become_client_hello(data: bytes) -> bool:
    """Whether the few bytes that are there can be the beginning of a client's hello."""
    return _CLIENT_HEAD.startswith(data[:_HEAD]) and _CLIENT_TAIL.startswith(data[_HEAD + _RANDOM : CLIENT_HELLO_SIZE])


def server_hello(random: bytes, session: bytes) -> bytes:
    """The 83 bytes a server answers, which some clients must read at once; ``random``, ``session``: 32 bytes each."""
    return _SERVER_HEAD + random + _SERVER_MIDDLE + session + _SERVER_TAIL


def is_server_hello(data: bytes) -> bool:
    """Whether bytes begin with a server's hello."""
    session_at = _HEAD + _RANDOM
    tail_at = session_at + 1 + _SESSION
    return (
        data.startswith(_SERVER_HEAD)
        and data[session_at : session_at + 1] == _SERVER_MIDDLE
        and data[tail_at:SERVER_HELLO_SIZE] == _SERVER_TAIL
    )
