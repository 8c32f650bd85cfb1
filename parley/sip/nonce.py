"""Nonces of digest authentication: signed, limited in time, bound to a realm, each use counted (RFC 7616 section 5).

A nonce tells when and by which front end it was issued, under a signature that every front end can check. Who issued it
also remembers which nonce counts were used; a front end that is shown another's nonce asks that one, and a nonce whose
issuer is gone is stale. So no use is accepted twice by any two front ends, and nothing is shared on the hot path.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from enum import Enum

_STAMP = 4
_SERIAL = 8
_ISSUER = 8
_PAYLOAD = _STAMP + _SERIAL + _ISSUER
_MAC = 13
_LENGTH = (_PAYLOAD + _MAC) // 3 * 4
_WINDOW = 64
_TABLE_LIMIT = 500_000


class NonceState(Enum):
    """What a nonce is worth."""

    OWN = "own"
    """Issued here and in force."""
    FOREIGN = "foreign"
    """Issued by another front end and in force, as far as can be told here."""
    STALE = "stale"
    """It was good once: the client should try again with a new one, without asking its user."""
    FORGED = "forged"
    """Not one of ours, or for another realm."""


def issuer_id(edge_uid: str) -> bytes:
    """What stands for a front end in its nonces, and in the branches of its Via."""
    return hashlib.blake2s(edge_uid.encode(), digest_size=_ISSUER).digest()


class Nonces:
    """Issues and judges the nonces of one front end."""

    __slots__ = ("_counts", "_issuer", "_key", "_lifetime", "_old", "_serial", "_started", "_turn_at")

    def __init__(self, key: bytes, edge_uid: str, *, lifetime: int = 300, started_at: float = 0.0) -> None:
        """``key``: shared by all front ends, 32 bytes; ``lifetime``: seconds.

        ``started_at``: when this process began (Unix time); what it issued before, it no longer remembers the uses of.
        """
        self._started: int = int(started_at)
        self._key: bytes = key
        self._issuer: bytes = issuer_id(edge_uid)
        self._lifetime: int = lifetime
        self._serial: int = 0
        self._counts: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._turn_at: float = 0.0

    def issue(self, realm: str, now: float) -> str:
        """A new nonce; ``now`` in seconds since the Unix epoch."""
        self._serial += 1
        serial = (self._started & 0xFFFFFFFF) << 32 | self._serial & 0xFFFFFFFF
        payload = int(now).to_bytes(_STAMP, "big") + serial.to_bytes(_SERIAL, "big") + self._issuer
        return urlsafe_b64encode(payload + self._sign(payload, realm)).decode()

    def judge(self, nonce: str, realm: str, now: float) -> NonceState:
        """What a nonce is worth, its count aside."""
        raw = _decode(nonce)
        if raw is None:
            return NonceState.FORGED
        payload = raw[:_PAYLOAD]
        if not hmac.compare_digest(self._sign(payload, realm), raw[_PAYLOAD:]):
            return NonceState.FORGED
        age = now - int.from_bytes(payload[:_STAMP], "big")
        if not -60 <= age <= self._lifetime:
            return NonceState.STALE
        if payload[_STAMP + _SERIAL :] != self._issuer:
            return NonceState.FOREIGN
        return NonceState.OWN if self._is_mine(payload) else NonceState.STALE

    def _is_mine(self, payload: bytes) -> bool:
        """Whether this process issued it, and not one before it with the same uid."""
        return int.from_bytes(payload[_STAMP : _STAMP + 4], "big") == self._started & 0xFFFFFFFF

    def use(self, nonce: str, count: int, now: float) -> bool:
        """Whether this count of an own nonce is new; it is used up by asking.

        Counts may come out of order within a window of 64 (RFC 7616 section 3.4.5 wants them to rise by one).
        """
        if now >= self._turn_at:
            self._turn(now)
        state = self._counts.get(nonce)
        if state is None:
            state = self._old.pop(nonce, 0)
        highest, seen = state >> _WINDOW, state & (1 << _WINDOW) - 1
        if count < 1:
            return False
        if count > highest:
            seen = (seen << min(count - highest, _WINDOW) | 1) & (1 << _WINDOW) - 1
            highest = count
        else:
            behind = highest - count
            if behind >= _WINDOW or seen >> behind & 1:
                self._counts[nonce] = state
                return False
            seen |= 1 << behind
        if len(self._counts) >= _TABLE_LIMIT and nonce not in self._counts:
            self._turn(now)
        self._counts[nonce] = highest << _WINDOW | seen
        return True

    def _turn(self, now: float) -> None:
        """Forgets what is older than a lifetime; a nonce that old is stale."""
        self._old = self._counts if now - self._turn_at < self._lifetime + 61 else {}
        self._counts = {}
        self._turn_at = now + self._lifetime + 61

    def _sign(self, payload: bytes, realm: str) -> bytes:
        text = payload + realm.encode("utf-8", "surrogateescape")
        return hashlib.blake2s(text, key=self._key, digest_size=_MAC).digest()  # a keyed hash, and a fast one


def issued_by(nonce: str) -> bytes | None:
    """The `issuer_id` in a nonce; None for what is no nonce."""
    raw = _decode(nonce)
    return None if raw is None else raw[_STAMP + _SERIAL : _PAYLOAD]


def _decode(nonce: str) -> bytes | None:
    if len(nonce) != _LENGTH or not nonce.isascii():
        return None
    try:
        return urlsafe_b64decode(nonce)
    except (Base64Error, ValueError):
        return None
