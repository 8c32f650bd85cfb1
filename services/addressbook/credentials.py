"""Credentials: what each authentication scheme needs, derived from a password and sealed at rest.

Kept are the digest secrets H(login:realm:password) of every form of login, with MD5 and SHA-256 (RFC 7616 section 3.4.2),
and the NT hash (MS-NLMP section 3.3.1). The password itself is not kept. All of it is sealed with AES-GCM, bound to the
user's address, under a key derived from the installation's master key. What is sealed names its key, so that the key can be
changed: the one before is known as well until all is sealed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parley.ntlm.md4 import nt_hash
from parley.sip.digest import MD5, SHA256, ha1

_NONCE: Final = 12
_KEY_ID: Final = 4
_MAX_PASSWORD: Final = 256


class PasswordError(ValueError):
    """A password that may not be used, with the reason."""


@dataclass(frozen=True, slots=True)
class DigestSecrets:
    """H(login:realm:password) for one form of login."""

    md5: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class UserCredentials:
    """All that a user can sign in with."""

    nt_hash: bytes
    digests: dict[str, DigestSecrets]
    """By login exactly as it is to be sent."""


NO_CREDENTIALS: Final = UserCredentials(b"", {})
"""Of a user who has no password here."""


def derive(password: str, logins: list[str], realm: str, *, min_length: int) -> UserCredentials:
    """The credentials of a password. Raises PasswordError."""
    text = unicodedata.normalize("NFC", password)
    if len(text) < min_length:
        raise PasswordError(f"a password needs at least {min_length} characters")
    if len(text) > _MAX_PASSWORD:
        raise PasswordError(f"a password has at most {_MAX_PASSWORD} characters")
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise PasswordError("a password must not hold control characters")
    digests = {login: DigestSecrets(ha1(MD5, login, realm, text), ha1(SHA256, login, realm, text)) for login in logins}
    return UserCredentials(nt_hash(text), digests)


class Vault:
    """Seals and opens credentials."""

    def __init__(self, key: bytes, previous: Sequence[bytes] = ()) -> None:
        """``key``, 32 bytes, seals; it and the ``previous`` ones open."""
        self._current = _key_id(key)
        self._ciphers = {_key_id(known): AESGCM(known) for known in (key, *previous)}

    def seal(self, credentials: UserCredentials, address: str) -> bytes:
        """The credentials as they are stored: id of the key, nonce, ciphertext."""
        content = {
            "nt": credentials.nt_hash.hex(),
            "digests": {login: [d.md5.hex(), d.sha256.hex()] for login, d in credentials.digests.items()},
        }
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._current].encrypt(nonce, json.dumps(content).encode(), address.encode())
        return self._current + nonce + sealed

    def is_current(self, sealed: bytes) -> bool:
        """Whether it was sealed with the present key."""
        return sealed.startswith(self._current)

    def open(self, sealed: bytes, address: str) -> UserCredentials:
        """Raises ValueError when they were sealed with a key that is not known, or for another user."""
        cipher = self._ciphers.get(sealed[:_KEY_ID])
        if cipher is None:
            raise ValueError("sealed with a key that is not known")
        nonce, sealed = sealed[_KEY_ID : _KEY_ID + _NONCE], sealed[_KEY_ID + _NONCE :]
        try:
            plain = cipher.decrypt(nonce, sealed, address.encode())
        except InvalidTag:
            raise ValueError("they were changed, or are somebody else's") from None
        content = json.loads(plain)
        digests = {
            login: DigestSecrets(bytes.fromhex(md5), bytes.fromhex(sha256))
            for login, (md5, sha256) in content["digests"].items()
        }
        return UserCredentials(bytes.fromhex(content["nt"]), digests)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"parley key id " + key).digest()[:_KEY_ID]
