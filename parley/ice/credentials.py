"""Credentials: what proves that a check comes from who the session description came from.

Sources: RFC 8445 section 5.3 and RFC 8839 section 5.4 (a user fragment and a password for each stream), [MS-ICE] 3.1.4.8.2
(each candidate has its own, sent in base64 and used as the bytes that encodes).
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from parley.ice.candidates import Candidate
from parley.ice.errors import CredentialsError

_ICE_CHARACTERS: Final = string.ascii_letters + string.digits
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_MS_USERNAME_BYTES: Final = 32
_MS_PASSWORD_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one side of one stream."""

    ufrag: str
    password: str = field(repr=False)

    @classmethod
    def checked(cls, ufrag: str, password: str) -> Credentials:
        """Those a session description has. Raises CredentialsError when they are none."""
        if not _UFRAG.fullmatch(ufrag):
            raise CredentialsError("ice-ufrag has 4 to 256 characters of base64")
        if not _PASSWORD.fullmatch(password):
            raise CredentialsError("ice-pwd has 22 to 256 characters of base64")
        return cls(ufrag, password)

    @classmethod
    def random(cls) -> Credentials:
        """New ones: 47 and 142 bits of chance."""
        return cls(_random(8), _random(24))

    @property
    def key(self) -> bytes:
        """Of message integrity; the characters allowed are the same prepared and not."""
        return self.password.encode()


def _random(size: int) -> str:
    return "".join(secrets.choice(_ICE_CHARACTERS) for _ in range(size))


def random_candidate_credentials() -> tuple[str, str]:
    """User name and password of one candidate of [MS-ICE], in base64 without filling."""
    return _unfilled(secrets.token_bytes(_MS_USERNAME_BYTES)), _unfilled(secrets.token_bytes(_MS_PASSWORD_BYTES))


def _unfilled(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The bytes of base64 without filling. Raises CredentialsError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise CredentialsError("the credentials of a candidate are no base64") from None


def username_of(remote: Credentials, local: Credentials) -> bytes:
    """USERNAME of a check that goes to the remote side (RFC 8445 section 7.2.2)."""
    return f"{remote.ufrag}:{local.ufrag}".encode()


def candidate_username(remote: Candidate, local: Candidate) -> bytes:
    """USERNAME of a check of [MS-ICE], without the NULs that fill it. Raises CredentialsError."""
    component = b":%d" % remote.component
    return decoded(remote.username) + component + b":" + decoded(local.username) + component


def named_candidate(username: bytes, candidates: Iterable[Candidate]) -> Candidate | None:
    """The candidate whose user name a USERNAME of [MS-ICE] begins with.

    It may go on with another candidate's name: a peer-reflexive candidate is named by the two it was found with.
    """
    return next((found for found in candidates if username.startswith(decoded(found.username))), None)
