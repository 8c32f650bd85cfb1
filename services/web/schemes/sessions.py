"""Sessions of the admin page: a sealed cookie that any replica can open, and a token against forged requests.

The cookie says who signed in, until when, and the version of the user at the time: another password, a disabled or removed
user ends all sessions of that user at once. Who signs out ends the session at every replica, by a note at the registrar that
is kept as long as the cookie would be good. The cookie is of this host alone (``__Host-``), out of reach for scripts, and
not sent from other sites; what changes something has to bring the token of the session in ``X-CSRF-Token`` as well.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.web.schemes.once import Once

COOKIE: Final = "__Host-parley"
CSRF_HEADER: Final = "X-CSRF-Token"
_NONCE: Final = 12
_PURPOSE: Final = b"parley web session 1"
_MAX_TEXT: Final = 2_048


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says."""

    address: str
    user_version: int
    csrf: str
    expires_at: float
    """Unix time."""

    @property
    def digest(self) -> bytes:
        """What it is known by when it has ended."""
        return hashlib.sha256(_PURPOSE + self.csrf.encode()).digest()

    def allows(self, token: str) -> bool:
        """Whether it is the token of this session."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))


class Sessions:
    """Seals and opens."""

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        """``key``: 32 bytes."""
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes

    def begin(self, address: str, user_version: int, expires_at: float) -> Session:
        """A new one."""
        return Session(address, user_version, self._random_bytes(24).hex(), expires_at)

    def seal(self, session: Session) -> str:
        """The value of the cookie."""
        content = json.dumps([session.address, session.user_version, session.csrf, session.expires_at])
        nonce = self._random_bytes(_NONCE)
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, content.encode(), _PURPOSE)).decode()

    def open(self, text: str, now: float) -> Session | None:
        """None for one that was not sealed here, or is over. ``now``: Unix time."""
        try:
            raw = urlsafe_b64decode(text) if len(text) <= _MAX_TEXT else b""
            plain = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _PURPOSE)
        except (ValueError, InvalidTag):
            return None
        address, version, csrf, expires_at = json.loads(plain)
        return Session(address, version, csrf, expires_at) if now < expires_at else None


class Endings:
    """Which sessions were ended by who had begun them."""

    def __init__(self, once: Once) -> None:
        self._once = once

    async def end(self, session: Session, now: float) -> None:
        """From now on it is over, at every replica. ``now``: Unix time. Raises HttpError 503."""
        if session.expires_at > now:
            await self._once.take(session.digest, session.expires_at - now)

    async def has_ended(self, session: Session) -> bool:
        """Raises HttpError 503: who cannot be told from somebody who signed out is not let in."""
        return await self._once.was_taken(session.digest)
