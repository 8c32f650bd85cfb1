"""TLS: contexts for servers and clients, certificates that are read again when their files change, a development CA.

TLS 1.2 is the least; ciphers are those of OpenSSL's default list. A server context keeps its identity while certificates
change underneath: new handshakes use the new files, connections go on with what they have.
"""

from __future__ import annotations

import datetime
import ipaddress
import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from parley.platform.keys import write_private

logger = logging.getLogger(__name__)

_CA_DAYS = 3650
_LEAF_DAYS = 397
_RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files of a certificate (with its chain) and its key."""

    certificate: Path
    key: Path


class ServerTls:
    """A server context whose certificate follows its files."""

    def __init__(self, files: CertificateFiles, *, client_ca: Path | None = None, alpn: Iterable[str] = ()) -> None:
        """``client_ca``: demand certificates of clients, signed by it. Raises OSError or ssl.SSLError."""
        self._files = files
        self._stamp = self._read_stamp()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(files.certificate, files.key)
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            self.context.set_alpn_protocols(list(alpn))

    def reload_if_changed(self) -> bool:
        """Reads the files again when they changed; files that are broken are left alone until they are whole."""
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return False
            self.context.load_cert_chain(self._files.certificate, self._files.key)
        except (OSError, ssl.SSLError) as error:
            logger.warning("the certificate could not be read again: %s", error)
            return False
        self._stamp = stamp
        logger.info("the certificate %s was read again", self._files.certificate)
        return True

    def _read_stamp(self) -> tuple[int, int]:
        return self._files.certificate.stat().st_mtime_ns, self._files.key.stat().st_mtime_ns


def client_context(*, ca: Path | None = None, files: CertificateFiles | None = None) -> ssl.SSLContext:
    """A client context that checks names and chains; ``ca`` None: the system's authorities."""
    context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


class DevelopmentCa:
    """A CA of one's own, kept in a folder, for trying things out: not for the open internet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key_file = folder / "ca.key"

    def ensure(self) -> Path:
        """Makes the CA unless it is there; the path of its certificate."""
        if not (self.certificate.exists() and self._key_file.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            # Clients that know several must not take one for another.
            title = f"Parley development CA {token_hex(4)}"
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
            builder = _builder(name, name, key.public_key(), _CA_DAYS).add_extension(
                x509.BasicConstraints(ca=True, path_length=0), critical=True
            )
            builder = builder.add_extension(_usage(sign=True), critical=True)
            certificate = builder.sign(key, hashes.SHA256())
            write_private(self._key_file, _key_pem(key))
            write_private(self.certificate, _pem(certificate))
        return self.certificate

    def signer(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """The CA's certificate and key; made when they are not there."""
        self.ensure()
        key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()), key

    def issue(self, name: str, names: Iterable[str]) -> CertificateFiles:
        """A certificate for server and client use, for host names and addresses; kept until it nears its end."""
        self.ensure()
        files = CertificateFiles(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        wanted = list(dict.fromkeys(names))
        if not self._is_good(files, wanted):
            ca, ca_key = self.signer()
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[0][:64])])
            builder = _builder(subject, ca.subject, key.public_key(), _LEAF_DAYS)
            builder = builder.add_extension(x509.SubjectAlternativeName(map(_general_name, wanted)), critical=False)
            builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            builder = builder.add_extension(_usage(sign=False), critical=True)
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            certificate = builder.sign(ca_key, hashes.SHA256())
            write_private(files.key, _key_pem(key))
            write_private(files.certificate, _pem(certificate) + self.certificate.read_text())
        return files

    @staticmethod
    def _is_good(files: CertificateFiles, wanted: list[str]) -> bool:
        """Whether a certificate is there, names all that is wanted, and lasts a while."""
        try:
            certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, x509.ExtensionNotFound):
            return False
        if not files.key.exists() or not all(_general_name(name) in list(names) for name in wanted):
            return False
        left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        return left.days > _RENEW_DAYS


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=not sign, key_cert_sign=sign, crl_sign=sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
