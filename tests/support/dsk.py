"""The client's side of TLS-DSK: a key, a request for a certificate, and the handshake in gssapi-data."""

from __future__ import annotations

import datetime
import hmac
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from parley.sipae.dsk import DskContext
from parley.webticket.trust import p_sha1


def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key, made once in a test run; ``number`` tells several apart."""
    return _rsa_key(number, bits)


@cache
def _rsa_key(number: int, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def self_signed(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str, other_names: x509.SubjectAlternativeName | None = None
) -> x509.Certificate:
    """A certificate that nobody else signed."""
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    if other_names is not None:
        builder = builder.add_extension(other_names, critical=False)
    return builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())


def certificate_request(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str = "alice@example.test") -> bytes:
    """PKCS#10, DER."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    )


@cache
def server_context() -> DskContext:
    """A server's context, made once in a test run."""
    key = rsa_key(99)
    return DskContext([self_signed(key, "ocs.example.test")], key)


class DskClient:
    """A handshake; its keys are computed from the secrets and not asked of OpenSSL's exporter."""

    def __init__(
        self, certificate: x509.Certificate | None, key: rsa.RSAPrivateKey | None, suites: str = "AES128-SHA"
    ) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_VERSION)
        context.set_cipher_list(f"{suites}:@SECLEVEL=0".encode())
        if certificate is not None and key is not None:
            context.use_certificate(certificate)
            context.use_privatekey(key)
        self._connection = SSL.Connection(context, None)
        self._connection.set_connect_state()
        self.done = False

    def step(self, received: bytes = b"") -> bytes:
        """The next flight; b"" after the last. Raises SSL.Error."""
        if received:
            self._connection.bio_write(received)
        try:
            self._connection.do_handshake()
            self.done = True
        except SSL.WantReadError:
            pass
        try:
            return self._connection.bio_read(65_536)
        except SSL.WantReadError:
            return b""

    def sign(self, text: bytes) -> bytes:
        """The client's signature, when the handshake is done."""
        return hmac.digest(self.keys[0], text, "sha1")

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the server signed that."""
        return hmac.digest(self.keys[1], text, "sha1") == signature

    @property
    def keys(self) -> tuple[bytes, bytes]:
        """The client's and the server's key of 32 bytes (MS-SIPAE section 3.2.5.1)."""
        master = self._connection.master_key()
        randoms = (self._connection.client_random() or b"") + (self._connection.server_random() or b"")
        assert master is not None
        block = prf(master, b"client EAP encryption", randoms, 128)
        return block[64:96], block[96:128]


def prf(secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """The PRF of TLS 1.0 (RFC 2246 section 5)."""
    half = (len(secret) + 1) // 2
    md5, a = b"", label + seed
    while len(md5) < length:
        a = hmac.digest(secret[:half], a, "md5")
        md5 += hmac.digest(secret[:half], a + label + seed, "md5")
    sha1 = p_sha1(secret[-half:], label + seed, length)
    return bytes(x ^ y for x, y in zip(md5, sha1, strict=False))
