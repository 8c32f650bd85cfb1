"""Relay credentials that prove themselves: a user name that is a token, and a password that follows from it (MS-AVEDGEA).

Whoever has the keys verifies a token without a look-up: its layout is a version, a length, when it expires, and whom it was
made for in a form that names nobody; the user name is the token with an HMAC, the password an HMAC of the user name. All is
binary; base64 makes text of it where a document needs text.

Keys change by themselves: those a token is made with belong to the period that it expires in, so every replica finds them,
two generations are in use at a time, and an old generation serves nobody. A new master key beside the old one works alike:
the first issues, all verify.

Some clients take quotes and zero bytes off the ends of user name and password before they use them. Credentials that would
suffer are not issued.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from parley.platform.keys import derive_key

GENERATION_S: Final = 14 * 86_400.0
"""How long the expiries of one generation of keys span; no credentials may last longer."""
MAC_SIZE: Final = 20
_SIZES: Final = {1: 32, 2: 36}
_UNITS: Final = 10_000_000
_EPOCH: Final = 11_644_473_600
"""Seconds from the beginning of FILETIME (1601) to that of Unix time."""
_TRIMMED: Final = (0x00, 0x22)
_MAX_FILETIME: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """Secrets of one generation: for the id of a user, for the user name, for the password."""

    identity: bytes = field(repr=False)
    username: bytes = field(repr=False)
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """Credentials, binary. ``expires_at``: Unix time."""

    username: bytes
    password: bytes = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Verified:
    """What a right user name says. ``client_id``: 20 bytes, the same for all tokens of one user; ``flags``: of version 2."""

    password: bytes = field(repr=False)
    client_id: bytes
    expires_at: float
    flags: int


class Tokens:
    """Issues and verifies."""

    def __init__(self, masters: Sequence[bytes]) -> None:
        """``masters``: master keys; the first issues, all verify. Raises ValueError when there is none."""
        if not masters:
            raise ValueError("tokens need a master key")
        self._masters = tuple(masters)

    def issue(self, identity: str, expires_at: float, *, flags: int | None = None) -> Issued:
        """Credentials for a user until a Unix time, exact to some 100 ns. ``flags``: 32 bits; given, the token has them."""
        return issue(_keys(self._masters[0], _generation(to_filetime(expires_at))), identity, expires_at, flags=flags)

    def verify(self, username: bytes) -> Verified | None:
        """What the token says, expired or not; None when we did not make it."""
        if len(username) < 12:
            return None
        generation = _generation(_expiry(username))
        for master in self._masters:
            verified = verify(_keys(master, generation), username)
            if verified is not None:
                return verified
        return None


def issue(keys: TokenKeys, identity: str, expires_at: float, *, flags: int | None = None) -> Issued:
    """Credentials made with these keys; see `Tokens.issue`."""
    client_id = hmac.digest(keys.identity, identity.encode(), "sha1")
    expiry = to_filetime(expires_at)
    generation = _generation(expiry)
    step = 1
    while True:
        token = _token(expiry, client_id, flags)
        username = token + hmac.digest(keys.username, token, "sha1")
        password = hmac.digest(keys.password, username, "sha1")
        if survives_trimming(username) and survives_trimming(password):
            return Issued(username, password, from_filetime(expiry))
        if _generation(expiry + step) != generation:  # there the keys are others: the other way, once
            step = -1
        expiry += step


def verify(keys: TokenKeys, username: bytes) -> Verified | None:
    """What a user name made with these keys says; None for any other."""
    token, mac = username[:-MAC_SIZE], username[-MAC_SIZE:]
    version = username[0] if username else 0
    size = _SIZES.get(version, 0)
    if not size or len(token) != size or token[1:4] != bytes((0, 0, size)):
        return None
    if not hmac.compare_digest(mac, hmac.digest(keys.username, token, "sha1")):
        return None
    return Verified(
        hmac.digest(keys.password, username, "sha1"),
        token[12:32],
        from_filetime(_expiry(username)),
        int.from_bytes(token[32:], "big"),
    )


def survives_trimming(value: bytes) -> bool:
    """Whether a client that takes quotes off the front, and quotes and zeros off the end, leaves it as it is."""
    return value[0] != 0x22 and value[-1] not in _TRIMMED


def to_filetime(unix: float) -> int:
    """Unix time as FILETIME, 100 ns since 1601 (MS-DTYP section 2.3.3). Raises ValueError beyond it."""
    units = round((unix + _EPOCH) * _UNITS)
    if not 0 <= units <= _MAX_FILETIME:
        raise ValueError("a time that FILETIME cannot hold")
    return units


def from_filetime(units: int) -> float:
    """FILETIME as Unix time."""
    return units / _UNITS - _EPOCH


def _token(expiry: int, client_id: bytes, flags: int | None) -> bytes:
    version, tail = (1, b"") if flags is None else (2, flags.to_bytes(4, "big"))
    low, high = expiry & 0xFFFFFFFF, expiry >> 32
    head = bytes((version, 0, 0, _SIZES[version]))
    return head + low.to_bytes(4, "big") + high.to_bytes(4, "big") + client_id + tail


def _expiry(username: bytes) -> int:
    return int.from_bytes(username[8:12] + username[4:8], "big")


def _generation(expiry: int) -> int:
    return expiry // int(GENERATION_S * _UNITS)


@lru_cache(maxsize=64)
def _keys(master: bytes, generation: int) -> TokenKeys:
    # The id of a user must outlast generations: quotas go by it.
    return TokenKeys(
        derive_key(master, "relay-identity"),
        derive_key(master, f"relay-username {generation}"),
        derive_key(master, f"relay-password {generation}"),
    )
