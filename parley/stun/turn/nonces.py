"""Nonces that need no memory (RFC 8489 section 9.2).

A nonce is the nonce cookie, which tells what the server can do so that nobody on the path can hide it, then the end of its
time, and a keyed hash over both, the client's IP address and the realm. Every replica with the key can judge it, and one
taken elsewhere is stale there. The port is left out: a data connection (RFC 6062) comes from another.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

_COOKIE: Final = b"obMatJos2"
_COOKIE_SIZE: Final = len(_COOKIE) + 4
_STAMP: Final = 5
_MAC: Final = 13
_SIZE: Final = _COOKIE_SIZE + (_STAMP + _MAC) // 3 * 4
PASSWORD_ALGORITHMS: Final = 0x800000
USERNAME_ANONYMITY: Final = 0x400000


class Nonces:
    """Issues and judges nonces of one realm."""

    def __init__(self, key: bytes, realm: str, *, lifetime: int = 600, features: int) -> None:
        """``key``: shared by all replicas, 32 bytes; ``lifetime``: seconds; ``features``: of the nonce cookie."""
        self._key = key
        self._realm = realm.encode()
        self._lifetime = lifetime
        self._cookie = nonce_cookie(features)

    def issue(self, host: str, now_unix: float) -> bytes:
        """A nonce for a client's IP address."""
        stamp = (int(now_unix) + self._lifetime).to_bytes(_STAMP, "big")
        return self._cookie + b64encode(stamp + self._sign(stamp, host))

    def is_good(self, nonce: bytes, host: str, now_unix: float) -> bool:
        """Whether it was issued to that address, and its time has not passed."""
        if len(nonce) != _SIZE or not nonce.startswith(self._cookie):
            return False
        try:
            raw = b64decode(nonce[_COOKIE_SIZE:], validate=True)
        except (Base64Error, ValueError):
            return False
        stamp = raw[:_STAMP]
        return hmac.compare_digest(self._sign(stamp, host), raw[_STAMP:]) and int.from_bytes(stamp, "big") > now_unix

    def _sign(self, stamp: bytes, host: str) -> bytes:
        text = stamp + self._cookie + host.encode() + b"\0" + self._realm
        return hashlib.blake2s(text, key=self._key, digest_size=_MAC).digest()


def nonce_cookie(features: int) -> bytes:
    """What a nonce begins with; ``features``: 24 bits, the first of them the leftmost (RFC 8489 section 18.1)."""
    return _COOKIE + b64encode(features.to_bytes(3, "big"))


def features_of(nonce: bytes) -> int:
    """The features that a nonce tells of; 0 when it has no cookie."""
    if not nonce.startswith(_COOKIE) or len(nonce) < _COOKIE_SIZE:
        return 0
    try:
        return int.from_bytes(b64decode(nonce[len(_COOKIE) : _COOKIE_SIZE], validate=True), "big")
    except (Base64Error, ValueError):
        return 0
