"""MESSAGE-INTEGRITY of MS-TURN, and its key.

The digest covers what is before the attribute, with the header as it is sent, filled with zero bytes to a multiple of 64.
"""

from __future__ import annotations

import hashlib
import hmac

from parley.stun.ms.codes import HEADER_SIZE, INTEGRITY_SIZE, MsAttribute
from parley.stun.ms.message import MsMessage


def integrity_key(username: bytes, realm: str, password: bytes) -> bytes:
    """16 bytes; ``username`` and ``password`` as they are before base64 makes text of them."""
    return hashlib.md5(b":".join((username, realm.encode(), password)), usedforsecurity=False).digest()


def protect(message: MsMessage, key: bytes) -> bytes:
    """The bytes of a message with MESSAGE-INTEGRITY at its end."""
    data = bytes(message)
    data = data[:2] + (len(data) + 4 + INTEGRITY_SIZE - HEADER_SIZE).to_bytes(2, "big") + data[4:]
    head = MsAttribute.MESSAGE_INTEGRITY.to_bytes(2, "big") + INTEGRITY_SIZE.to_bytes(2, "big")
    return data + head + _digest(data, key)


def integrity_is_right(message: MsMessage, key: bytes) -> bool:
    """Whether a parsed message has MESSAGE-INTEGRITY made with that key."""
    at = message.integrity_at
    return at >= 0 and hmac.compare_digest(message.raw[at + 4 :], _digest(message.raw[:at], key))


def _digest(text: bytes, key: bytes) -> bytes:
    return hmac.digest(key, text + bytes(-len(text) % 64), "sha1")
