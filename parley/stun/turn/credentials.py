"""Who may use the relay: users of the configuration, and names that carry their own end of validity.

Time-limited names follow draft-uberti-behave-turn-rest-00: the name is "expiry" or "expiry:user", the expiry in Unix
seconds, the password base64(HMAC-SHA1(secret, name)). Whoever has the secret can issue them, and they are checked without
a look-up.
The end of validity counts when an allocation is made; a call that lasts longer is not cut.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol

from parley.stun.integrity import Algorithm, long_term_key, user_hash

_MAX_EXPIRY_DIGITS: Final = 12


class Refusal(Enum):
    """Why a name gets no key. Clients are not told which: all of them look like a wrong password."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"


class Account(NamedTuple):
    """What a user name stands for. ``user``: whom quotas and events mean; ``keys``: any of them is right."""

    user: str
    keys: tuple[bytes, ...]


class Credentials(Protocol):
    """Finds the keys of user names."""

    def account_of(self, username: str, realm: str, now_unix: float, algorithm: Algorithm) -> Account | Refusal:
        """The account of a name, with keys made with that algorithm; ``now_unix``: seconds since the Unix epoch."""

    def username_of(self, hashed: bytes, realm: str) -> str | None:
        """The name behind a USERHASH; None when none is known by it."""


class StaticCredentials:
    """Users of the configuration, who may also be named by their hash."""

    def __init__(self, passwords: Mapping[str, str], realm: str) -> None:
        """``passwords``: by user name. Keys are made once, and passwords not kept."""
        self._realm = realm
        self._keys = {
            (name, algorithm): long_term_key(name, realm, password, algorithm)
            for name, password in passwords.items()
            for algorithm in Algorithm
        }
        self._by_hash = {user_hash(name, realm): name for name in passwords}

    def account_of(self, username: str, realm: str, now_unix: float, algorithm: Algorithm) -> Account | Refusal:
        """The account of a user of the configuration; users are not limited in time."""
        key = self._keys.get((username, algorithm)) if realm == self._realm else None
        return Refusal.UNKNOWN if key is None else Account(username, (key,))

    def username_of(self, hashed: bytes, realm: str) -> str | None:
        """The user with that hash."""
        return self._by_hash.get(hashed) if realm == self._realm else None


class TimeLimitedCredentials:
    """Names with an expiry, made with a secret. They cannot be found by a hash, since no list of them exists."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """``secrets``: the first issues, all are accepted, so that one can be replaced while names made with it live."""
        if not secrets or not all(secrets):
            raise ValueError("time-limited credentials need a secret, and no empty one")
        self._secrets = tuple(secrets)

    def issue(self, user: str, now_unix: float, lifetime: int) -> tuple[str, str]:
        """Name and password that are good for ``lifetime`` seconds. ``user``: told in events, "" for nobody."""
        username = f"{int(now_unix) + lifetime}:{user}" if user else str(int(now_unix) + lifetime)
        return username, _password(self._secrets[0], username)

    def account_of(self, username: str, realm: str, now_unix: float, algorithm: Algorithm) -> Account | Refusal:
        """The account of a name of this form. A name without a user is an account of its own."""
        expiry, _, user = username.partition(":")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= _MAX_EXPIRY_DIGITS):
            return Refusal.UNKNOWN
        if int(expiry) <= now_unix:
            return Refusal.EXPIRED
        keys = tuple(long_term_key(username, realm, _password(secret, username), algorithm) for secret in self._secrets)
        return Account(user or username, keys)

    def username_of(self, hashed: bytes, realm: str) -> str | None:
        """Nobody is found so."""
        return None


class ChainedCredentials:
    """Several kinds, asked in turn; the first that knows a name decides."""

    def __init__(self, *kinds: Credentials) -> None:
        self._kinds = kinds

    def account_of(self, username: str, realm: str, now_unix: float, algorithm: Algorithm) -> Account | Refusal:
        """The account at whichever kind knows the name."""
        refusal = Refusal.UNKNOWN
        for kind in self._kinds:
            found = kind.account_of(username, realm, now_unix, algorithm)
            if isinstance(found, Account):
                return found
            if found is Refusal.EXPIRED:
                refusal = found
        return refusal

    def username_of(self, hashed: bytes, realm: str) -> str | None:
        """The name at whichever kind knows the hash."""
        return next((name for kind in self._kinds if (name := kind.username_of(hashed, realm)) is not None), None)


def _password(secret: bytes, username: str) -> str:
    return base64.b64encode(hmac.digest(secret, username.encode(), "sha1")).decode()
