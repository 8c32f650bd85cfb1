"""Client certificates for TLS-DSK: read a request (PKCS#10), issue a certificate to a user, tell whose one is.

A certificate names its user as a URI, "sip:alice@example.test", and what counts is that Parley has kept it: who checks one
looks it up by its digest. So a certificate ends when it is forgotten, and no list of revoked ones is needed.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_REQUEST: Final = 8_192
_MIN_BITS: Final = 2048
_MAX_BITS: Final = 4096
_CLOCK_SKEW: Final = datetime.timedelta(minutes=15)

UNREADABLE: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What is raised for DER that is no certificate or request, or a strange one."""

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class CertificateError(ValueError):
    """A certificate, or a request for one, that is refused; the text says why."""


def parse_request(der: bytes) -> rsa.RSAPublicKey:
    """The key that a request (PKCS#10) asks a certificate for, and proves to have. Raises CertificateError.

    Nothing else of it counts: who it is for, the server knows better.
    """
    if len(der) > MAX_REQUEST:
        raise CertificateError("the request is too long")
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        proved = request.is_signature_valid
    except (*UNREADABLE, InvalidSignature):
        raise CertificateError("the request is no PKCS#10 that can be read") from None
    if not isinstance(key, rsa.RSAPublicKey) or not _MIN_BITS <= key.key_size <= _MAX_BITS:
        raise CertificateError(f"the key must be RSA of {_MIN_BITS} to {_MAX_BITS} bits")
    if not proved:
        raise CertificateError("the request is not signed by its key")
    return key


def issue(
    key: rsa.RSAPublicKey, address: str, ca: x509.Certificate, ca_key: CaKey, *, now: float, seconds: float
) -> x509.Certificate:
    """A certificate for a user, "sip:alice@example.test"; ``now``: Unix time; ``seconds``: how long it lasts."""
    begin = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address.removeprefix("sip:")[:64])])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca.subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin - _CLOCK_SKEW)
    builder = builder.not_valid_after(begin + datetime.timedelta(seconds=seconds))
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_ascii(address))])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=True, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = builder.add_extension(names, critical=False).add_extension(usage, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def address_of(der: bytes) -> str:
    """The user whom a certificate names, "sip:alice@example.test". Raises CertificateError."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (*UNREADABLE, x509.ExtensionNotFound):
        raise CertificateError("the certificate names no user") from None
    if len(uris) != 1 or not uris[0].startswith("sip:"):
        raise CertificateError("the certificate names no user")
    return uris[0]


def digest_of(der: bytes) -> bytes:
    """What a certificate is known by: SHA-256 of its DER, 32 bytes."""
    return hashlib.sha256(der).digest()


def _ascii(address: str) -> str:
    """The address as a URI in a certificate, which is ASCII."""
    if not address.isascii():
        raise CertificateError("the address cannot stand in a certificate")
    return address
