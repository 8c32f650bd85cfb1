"""Protection of messages: MESSAGE-INTEGRITY and its SHA-256 kind, FINGERPRINT, and the keys.

Source: RFC 8489 sections 9 and 14.5 to 14.7.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from parley.stun.codes import FINGERPRINT_XOR, HEADER_SIZE, Attribute
from parley.stun.message import Message

_SHA1_SIZE: Final = 24


class Algorithm(IntEnum):
    """How a long-term key is made of a password (RFC 8489 section 18.5.1)."""

    MD5 = 0x0001
    SHA256 = 0x0002


def prepare(text: str) -> str:
    """A user name, realm or password in the one form that both sides hash (the OpaqueString profile, RFC 8265 section 4)."""
    return unicodedata.normalize("NFC", text)


def long_term_key(username: str, realm: str, password: str, algorithm: Algorithm = Algorithm.MD5) -> bytes:
    """The key of long-term credentials: 16 bytes with MD5, 32 with SHA-256 (RFC 8489 section 9.2.2)."""
    text = f"{prepare(username)}:{prepare(realm)}:{prepare(password)}".encode()
    return (
        hashlib.sha256(text).digest() if algorithm is Algorithm.SHA256 else hashlib.md5(text, usedforsecurity=False).digest()
    )


def short_term_key(password: str) -> bytes:
    """The key of short-term credentials (RFC 8489 section 9.1.1)."""
    return prepare(password).encode()


def user_hash(username: str, realm: str) -> bytes:
    """The value of USERHASH, 32 bytes (RFC 8489 section 14.4)."""
    return hashlib.sha256(f"{prepare(username)}:{prepare(realm)}".encode()).digest()


def protect(message: Message, key: bytes = b"", *, sha256: bool = False, fingerprint: bool = False) -> bytes:
    """The bytes of a message with integrity when there is a key, of one kind, and with FINGERPRINT when asked."""
    data = bytes(message)
    if key and sha256:
        data = _append(data, Attribute.MESSAGE_INTEGRITY_SHA256, 32, lambda text: hmac.digest(key, text, "sha256"))
    elif key:
        data = _append(data, Attribute.MESSAGE_INTEGRITY, 20, lambda text: hmac.digest(key, text, "sha1"))
    if fingerprint:
        data = _append(data, Attribute.FINGERPRINT, 4, _fingerprint)
    return data


def integrity_is_right(message: Message, key: bytes) -> bool:
    """Whether a parsed message has MESSAGE-INTEGRITY made with that key."""
    at = message.integrity_at
    if at < 0:
        return False
    raw = message.raw
    given = raw[at + 4 : at + 4 + int.from_bytes(raw[at + 2 : at + 4], "big")]
    return hmac.compare_digest(given, hmac.digest(key, _text(raw, at, _SHA1_SIZE), "sha1"))


def integrity_sha256_is_right(message: Message, key: bytes) -> bool:
    """Whether a parsed message has MESSAGE-INTEGRITY-SHA256 made with that key; it may be shortened to 16 bytes."""
    at = message.integrity_sha256_at
    if at < 0:
        return False
    raw = message.raw
    size = int.from_bytes(raw[at + 2 : at + 4], "big")
    if not 16 <= size <= 32 or size % 4:
        return False
    return hmac.compare_digest(raw[at + 4 : at + 4 + size], hmac.digest(key, _text(raw, at, size + 4), "sha256")[:size])


def fingerprint_is_right(message: Message) -> bool:
    """Whether a parsed message ends in its FINGERPRINT."""
    at = message.fingerprint_at
    return at >= 0 and message.raw[at + 4 :] == _fingerprint(message.raw[:at])


def _text(raw: bytes, at: int, size: int) -> bytes:
    """What is protected: all before the attribute, with a length that ends with it."""
    return raw[:2] + (at + size - HEADER_SIZE).to_bytes(2, "big") + raw[4:at]


def _append(data: bytes, kind: int, size: int, digest: Callable[[bytes], bytes]) -> bytes:
    data = data[:2] + (len(data) + 4 + size - HEADER_SIZE).to_bytes(2, "big") + data[4:]
    return data + kind.to_bytes(2, "big") + size.to_bytes(2, "big") + digest(data)


def _fingerprint(data: bytes) -> bytes:
    return (zlib.crc32(data) ^ FINGERPRINT_XOR).to_bytes(4, "big")
