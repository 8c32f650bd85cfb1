"""MS-TURN messages, frames of a connection and hellos. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from parley.stun.errors import StunParseError
from parley.stun.message import Message
from parley.stun.ms.codes import MsAttribute
from parley.stun.ms.framing import FrameReader, encode_frame
from parley.stun.ms.integrity import integrity_is_right, protect
from parley.stun.ms.message import MsMessage
from parley.stun.ms.pseudo_tls import is_client_hello, is_server_hello, may_become_client_hello

_COOKIE: Final = b"\x21\x12\xa4\x42"


def _message(data: bytes) -> None:
    message = MsMessage.parse(data)
    for kind in (MsAttribute.LIFETIME, MsAttribute.MS_VERSION):
        with suppress(StunParseError):
            message.get_int(kind)
    for kind in (MsAttribute.DESTINATION_ADDRESS, MsAttribute.REMOTE_ADDRESS, MsAttribute.MAPPED_ADDRESS):
        with suppress(StunParseError):
            message.get_address(kind)
    for reader in (lambda: message.mapped_address, lambda: message.sequence, lambda: message.error_code):
        with suppress(StunParseError):
            reader()
    integrity_is_right(message, b"key")
    again = protect(MsMessage(message.kind, message.transaction_id, message.attributes), b"key")
    assert MsMessage.parse(again).attributes == message.attributes
    if data[4:8] != _COOKIE:
        try:
            Message.parse(data)
        except StunParseError:
            return
        raise AssertionError("two dialects in one message")


def _frames(data: bytes) -> None:
    reader = FrameReader()
    found = [frame for start in range(0, len(data), 7) for frame in reader.feed(data[start : start + 7])]
    written = b"".join(encode_frame(*frame) for frame in found)
    assert data.startswith(written)
    assert reader.waiting == len(data) - len(written)


def _hello(data: bytes) -> None:
    assert not (is_client_hello(data) and is_server_hello(data))
    assert may_become_client_hello(data) or not is_client_hello(data)


_READERS: Final[tuple[Callable[[bytes], object], ...]] = (_message, _frames, _hello)


def fuzz_one(data: bytes) -> None:
    """Reads one input."""
    if not data:
        return
    try:
        _READERS[data[0] % len(_READERS)](data[1:])
    except StunParseError:
        return
