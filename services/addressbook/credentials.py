"""Credentials: what each authentication scheme needs, derived from a password and sealed at rest.

Kept are the digest secrets H(login:realm:password) of every form of login, with MD5 and SHA-256 (RFC 7616 section 3.4.2),
and the NT hash (MS-NLMP section 3.3.1). The password itself is not kept. All of it is sealed with AES-GCM, bound to the
user's address, under a key derived from the installation's master key.
"""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parley.ntlm.md4 import nt_hash
from parley.sip.digest import MD5, SHA256, ha1

_NONCE = 12
_KEY_ID = b"\x01"


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


def derive(password: str, logins: list[str], realm: str, *, min_length: int) -> UserCredentials:
    """The credentials of a password. Raises PasswordError."""
    text = unicodedata.normalize("NFC", password)
    if len(text) < min_length:
        raise PasswordError(f"a password needs at least {min_length} characters")
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise PasswordError("a password must not hold control characters")
    digests = {login: DigestSecrets(ha1(MD5, login, realm, text), ha1(SHA256, login, realm, text)) for login in logins}
    return UserCredentials(nt_hash(text), digests)


class Vault:
    """Seals and opens credentials."""

    def __init__(self, key: bytes) -> None:
        """``key``: 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, credentials: UserCredentials, address: str) -> bytes:
        """The credentials as they are stored."""
        content = {
            "nt": credentials.nt_hash.hex(),
            "digests": {login: [d.md5.hex(), d.sha256.hex()] for login, d in credentials.digests.items()},
        }
        nonce = os.urandom(_NONCE)
        return _KEY_ID + nonce + self._cipher.encrypt(nonce, json.dumps(content).encode(), address.encode())

    def open(self, sealed: bytes, address: str) -> UserCredentials:
        """Raises ValueError when they were sealed with another key, or for another user."""
        if sealed[:1] != _KEY_ID:
            raise ValueError("sealed with an unknown key")
        try:
            plain = self._cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], address.encode())
        except InvalidTag:
            raise ValueError("sealed with another master key") from None
        content = json.loads(plain)
        digests = {
            login: DigestSecrets(bytes.fromhex(md5), bytes.fromhex(sha256))
            for login, (md5, sha256) in content["digests"].items()
        }
        return UserCredentials(bytes.fromhex(content["nt"]), digests)
