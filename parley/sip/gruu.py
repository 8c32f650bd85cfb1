"""GRUUs: addresses that reach one device of a user (RFC 5627).

A public GRUU is the address of record with the instance as ``gr``. A temporary GRUU hides both: its user part is an
encrypted token, so nothing has to be stored to resolve it; it lasts until the key changes, or its registration ends.
"""

from __future__ import annotations

import hashlib
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parley.sip.uri import Uri, escape_user, parse_uri, unescape

_PREFIX = "tgruu."
_NONCE = 12


def public_gruu(aor: str, instance: str) -> str:
    """``sip:alice@example.test;gr=urn:uuid:...`` (RFC 5627 section 3.1.2.1)."""
    return f"{aor};gr={_escape_value(instance)}"


def gruu_instance(uri: Uri) -> str | None:
    """The instance that a public GRUU names; None for any other URI."""
    value = uri.params.get("gr")
    return unescape(value) if value else None


class TemporaryGruus:
    """Makes temporary GRUUs and resolves them."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """``key``: 32 bytes, the same for all registrars and front ends."""
        self._cipher: AESGCM = AESGCM(key)

    def make(self, aor: str, instance: str) -> str:
        """A new temporary GRUU, different every time (RFC 5627 section 3.1.2.2)."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, f"{aor}\n{instance}".encode(), b"tgruu")
        user = _PREFIX + urlsafe_b64encode(nonce + sealed).decode().rstrip("=")
        return f"sip:{user}@{parse_uri(aor).host};gr"

    def resolve(self, uri: Uri) -> tuple[str, str] | None:
        """Address of record and instance of a temporary GRUU; None for any other URI, and for a forged one."""
        user = uri.user or ""
        if not user.startswith(_PREFIX) or "gr" not in uri.params or len(user) > 1024:
            return None
        text = user.removeprefix(_PREFIX)
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            opened = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], b"tgruu").decode()
        except (Base64Error, ValueError, InvalidTag):
            return None
        aor, _, instance = opened.partition("\n")
        return aor, instance


def _escape_value(text: str) -> str:
    """An instance id as a URI parameter value; ":" may stand there as it is."""
    return (
        "".join(char if char in "[]/:&+$" else escape_user(char) for char in text)
        .replace(";", "%3B")
        .replace("=", "%3D")
        .replace("?", "%3F")
        .replace(",", "%2C")
    )


# Endpoints of Office Communicator (MS-SIPRE sections 2.2.2, 2.2.3 and 3.2)

_EPID_NAMESPACE = UUID("fcacfb03-8a73-46ef-91b1-e5ebeeaba4fe")
_ENDPOINT = "user:epid:"


def instance_of_epid(epid: str) -> str:
    """The ``urn:uuid:`` that an endpoint id stands for."""
    digest = bytearray(hashlib.sha1(_EPID_NAMESPACE.bytes_le + epid.encode(), usedforsecurity=False).digest()[:16])
    digest[7] = digest[7] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return f"urn:uuid:{UUID(bytes_le=bytes(digest))}"


def endpoint_gruu(aor: str, instance: str) -> str | None:
    """``sip:alice@example.test;opaque=user:epid:...;gruu``; None for an instance that is no UUID."""
    token = endpoint_token(instance)
    return f"{aor};opaque={_ENDPOINT}{token};gruu" if token is not None else None


def endpoint_token(instance: str) -> str | None:
    """What stands for an instance (``urn:uuid:...``) in such a GRUU; None for one that is no UUID."""
    try:
        return urlsafe_b64encode(UUID(instance.lower().removeprefix("urn:uuid:")).bytes_le + b"\0\0").decode()
    except ValueError:
        return None


def endpoint_of(uri: Uri) -> str | None:
    """The token of the endpoint that a URI names; None for any other URI."""
    value = uri.params.get("opaque") or ""
    if value[: len(_ENDPOINT)].lower() != _ENDPOINT:
        return None
    return value[len(_ENDPOINT) :]
