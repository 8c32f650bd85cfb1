"""A certificate authority of one's own, in memory: for trying things out, and for services that trust each other alone.

Keys are ECDSA P-256. A certificate is for server and client use, lasts `LEAF_DAYS` and never longer than its authority;
`reason_to_renew` says when another is due. Where they are kept is the business of who uses this.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 397
RENEW_DAYS: Final = 30
"""A certificate with fewer whole days left is to be renewed."""
_BACKDATED: Final = datetime.timedelta(hours=1)
"""Clocks of others may be late."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, with its chain, and its key: both PEM."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, title: str, *, now: datetime.datetime | None = None) -> Authority:
        """A new one. ``title``: what people see; a random part follows, as clients must not take one for another."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{title} {token_hex(4)}")])
        begin = _now(now)
        builder = _builder(name, name, key.public_key(), begin, begin + datetime.timedelta(days=CA_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(sign=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def read(cls, certificate: bytes, key: bytes) -> Authority:
        """From PEM. Raises ValueError for what is none, and for a key that is not the certificate's."""
        try:
            found = x509.load_pem_x509_certificate(certificate)
            secret = serialization.load_pem_private_key(key, None)
        except TypeError:
            raise ValueError("the key of the authority needs a passphrase") from None
        if not isinstance(secret, ec.EllipticCurvePrivateKey) or secret.public_key() != found.public_key():
            raise ValueError("the key is not the one of the authority's certificate, or no ECDSA key")
        return cls(found, secret)

    @property
    def pair(self) -> Pair:
        """As PEM."""
        return Pair(_pem(self.certificate), _key_pem(self.key))

    def issue(self, names: Iterable[str], *, now: datetime.datetime | None = None) -> Pair:
        """A certificate for host names and addresses, at least one, with the authority's behind it."""
        wanted = list(dict.fromkeys(names))
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[0][:64])])
        begin = _now(now)
        end = min(begin + datetime.timedelta(days=LEAF_DAYS), self.certificate.not_valid_after_utc)
        builder = _builder(subject, self.certificate.subject, key.public_key(), begin, end)
        builder = builder.add_extension(x509.SubjectAlternativeName(map(general_name, wanted)), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        return Pair(_pem(certificate) + _pem(self.certificate), _key_pem(key))


def days_left(certificate: x509.Certificate, now: datetime.datetime | None = None) -> int:
    """Whole days that it is valid for; negative when it has ended."""
    return (certificate.not_valid_after_utc - _now(now)).days


def missing_names(certificate: x509.Certificate, names: Iterable[str]) -> list[str]:
    """Which of the host names and addresses are not in its subjectAltName."""
    try:
        known = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, x509.ExtensionNotFound):
        known = []
    return [name for name in names if general_name(name) not in known]


def reason_to_renew(
    certificate: x509.Certificate, names: Iterable[str], *, signed_by: x509.Certificate | None = None,
    now: datetime.datetime | None = None,
) -> str:  # fmt: skip
    """Why another certificate is due, for people; "" when none is."""
    missing = missing_names(certificate, names)
    if missing:
        return f"it does not name {', '.join(missing)}"
    left = days_left(certificate, now)
    if left <= RENEW_DAYS:
        return "it has ended" if left < 0 else f"it ends in {left} days"
    if signed_by is not None and not is_signed_by(certificate, signed_by):
        return "another authority signed it"
    return ""


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority signed a certificate itself."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def general_name(name: str) -> x509.GeneralName:
    """A host name or address as a certificate has it. Raises ValueError for a name that is not ASCII."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _now(now: datetime.datetime | None) -> datetime.datetime:
    return now or datetime.datetime.now(datetime.UTC)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - _BACKDATED).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=not sign, key_cert_sign=sign, crl_sign=sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
