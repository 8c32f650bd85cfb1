"""Certificates by which users sign in without the password (TLS-DSK): who signs them, which are in force.

A certificate is in force while it is kept here. It ends with its time, with the password, when its user is disabled or
removed, when it is withdrawn, and when the same device gets another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from parley.platform.config import ConfigError
from parley.platform.store.client import Store
from parley.platform.telemetry.certificates import watch_certificate
from parley.platform.tls import DevelopmentCa
from parley.proto.addressbook.v1.addressbook_pb2 import Certificate
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.sipae.certificates import CaKey, digest_of, issue, parse_request
from services.addressbook.config import CertificatesConfig
from services.addressbook.directory.writing import pack_user_event
from services.addressbook.repository import OUTBOX, Absent, Conflict, certificates_key, user_key

USERS_CA: Final = "users-ca"
_DEVICE: Final = re.compile(r"[\x21-\x7e]{1,64}")


class Issuer:
    """Signs certificates with the configured CA, else with a development CA kept with the data.

    That one signs nothing else: where servers are trusted by their CA, no user may come with a certificate of it.
    """

    def __init__(self, config: CertificatesConfig, data: Path) -> None:
        self._config = config
        self._data = data
        self._signer: tuple[x509.Certificate, CaKey] | None = None

    def load(self) -> None:
        """Reads the configured CA, if there is one. Raises ConfigError when it is none."""
        if self._config.ca_certificate is not None and self._config.ca_key is not None:
            self._signer = _read_ca(self._config.ca_certificate, self._config.ca_key)
            watch_certificate(self._config.ca_certificate)

    def issue(self, address: str, request: bytes, now: float) -> x509.Certificate:
        """A certificate for a user. ``request``: PKCS#10, DER; ``now``: Unix time. Raises CertificateError."""
        key = parse_request(request)
        if self._signer is None:
            self._signer = DevelopmentCa(self._data / USERS_CA).signer()
        ca, ca_key = self._signer
        return issue(key, address, ca, ca_key, now=now, seconds=self._config.hours * 3600)


def _read_ca(certificate_file: Path, key_file: Path) -> tuple[x509.Certificate, CaKey]:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError([f"addressbook.certificates: the CA cannot be read: {error}"]) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) or certificate.public_key() != key.public_key():
        raise ConfigError(["addressbook.certificates: ca_key is not the key of ca_certificate"])
    return certificate, key


class CertificateStore:
    """The certificates in force, in Redis beside their users."""

    def __init__(self, store: Store, *, per_user: int) -> None:
        """``per_user``: a further one takes the place of the oldest."""
        self._store = store
        self._per_user = per_user
        self._issue = store.script("services.addressbook", "issue.lua")
        self._withdraw = store.script("services.addressbook", "withdraw.lua")

    async def add(self, address: str, version: int, certificate: Certificate) -> None:
        """Durable when it returns. ``version``: of the user. Raises Absent, Conflict, StoreError."""
        reply = await self._issue.durable(
            [user_key(address), certificates_key(address)],
            [
                str(version), certificate.sha256, str(certificate.expires_at_ms), str(certificate.issued_at_ms),
                certificate.serial, certificate.device, str(self._per_user),
            ],
        )  # fmt: skip
        if reply == b"ABSENT":
            raise Absent
        if reply == b"CONFLICT":
            raise Conflict

    async def expiries(self, wanted: Sequence[tuple[str, bytes]], now_ms: int) -> list[int]:
        """When certificates end, given by address and digest; 0 for one that is not in force. Raises StoreError."""
        found = await self._store.pipeline([["HGET", certificates_key(address), digest] for address, digest in wanted])
        ends = []
        for reply in found:
            if isinstance(reply, Exception):
                raise reply
            expires_ms = int(reply.partition(b" ")[0]) if reply is not None else 0
            ends.append(expires_ms if expires_ms > now_ms else 0)
        return ends

    async def of(self, address: str, now_ms: int) -> list[Certificate]:
        """Those of a user that are in force, the oldest first. Raises StoreError."""
        reply = await self._store.execute("HGETALL", certificates_key(address))
        certificates = []
        for digest, value in zip(reply[::2], reply[1::2], strict=True):
            expires, issued, serial, device = value.decode().split(" ", 3)
            certificate = Certificate(
                sha256=digest, serial=serial, device=device, issued_at_ms=int(issued), expires_at_ms=int(expires)
            )
            if certificate.expires_at_ms > now_ms:
                certificates.append(certificate)
        return sorted(certificates, key=lambda certificate: certificate.issued_at_ms)

    async def withdraw(self, address: str, prefix: bytes, event: UserChanged) -> int:
        """Forgets those whose digest begins so; how many. Durable when it returns. Raises Absent, StoreError."""
        count = await self._withdraw.durable(
            [user_key(address), certificates_key(address), OUTBOX], [prefix, pack_user_event(event)]
        )
        if count < 0:
            raise Absent
        return int(count)


def describe(certificate: x509.Certificate, der: bytes, device: str, now: float) -> Certificate:
    """What is kept of a certificate."""
    return Certificate(
        sha256=digest_of(der), serial=f"{certificate.serial_number:x}", device=device, issued_at_ms=round(now * 1000),
        expires_at_ms=round(certificate.not_valid_after_utc.timestamp() * 1000),
    )  # fmt: skip


def is_device(name: str) -> bool:
    """Whether a device may be called so."""
    return _DEVICE.fullmatch(name) is not None
