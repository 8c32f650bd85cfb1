"""TLS: contexts for servers and clients, certificates that are read again when their files change, a development CA.

TLS 1.2 is the least; ciphers are those of OpenSSL's default list. A server context keeps its identity while certificates
change underneath: new handshakes use the new files, connections go on with what they have.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from parley.platform.authority import Authority, reason_to_renew
from parley.platform.certificates import problem_of_age, problems_of_ca, problems_of_identity
from parley.platform.config import ClientTls, ConfigError
from parley.platform.keys import write_private
from parley.platform.telemetry.certificates import watch_certificate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files of a certificate (with its chain) and its key."""

    certificate: Path
    key: Path


class ServerTls:
    """A server context whose certificate follows its files."""

    def __init__(self, files: CertificateFiles, *, client_ca: Path | None = None, alpn: Iterable[str] = ()) -> None:
        """``client_ca``: demand certificates of clients, signed by it. Raises ConfigError when a file is wrong.

        One that has expired is told of and served: who does not need it is not kept waiting for a new one.
        """
        problems = problems_of_identity("tls", files.certificate, files.key)
        if client_ca is not None:
            problems += problems_of_ca("tls.peer_ca", client_ca)
        if problems:
            raise ConfigError(problems)
        for problem in problem_of_age("tls.certificate", files.certificate):
            logger.error("clients will refuse a certificate: %s", problem)
        watch_certificate(files.certificate)
        if client_ca is not None:
            watch_certificate(client_ca, authority=True)
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


class RotatingContext(ssl.SSLContext):
    """A client context for a server of one's own (Redis, Kafka), as the configuration describes it.

    Files that changed are read again before a handshake; an authority that was taken away counts until the end of the
    process. Make it with `server_context`.
    """

    wanted: ClientTls
    stamp: tuple[int, ...]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Called by asyncio, and by uvloop, for each connection."""
        self.refresh()
        return super().wrap_bio(incoming, outgoing, server_side, self.wanted.server_name or server_hostname, session)

    def refresh(self) -> None:
        """Takes files that changed; what is broken is left alone until it is whole."""
        try:
            if self._read_stamp() != self.stamp:
                self.load()
        except (OSError, ssl.SSLError) as error:
            logger.warning("certificates could not be read again: %s", error)

    def load(self) -> None:
        """Reads the files. Raises OSError, ssl.SSLError."""
        stamp = self._read_stamp()
        if self.wanted.ca is not None:
            watch_certificate(self.wanted.ca.expanduser(), authority=True)
            self.load_verify_locations(self.wanted.ca.expanduser())
        if self.wanted.certificate is not None and self.wanted.key is not None:
            watch_certificate(self.wanted.certificate.expanduser())
            self.load_cert_chain(self.wanted.certificate.expanduser(), self.wanted.key.expanduser())
        self.stamp = stamp

    def _read_stamp(self) -> tuple[int, ...]:
        paths = (self.wanted.ca, self.wanted.certificate, self.wanted.key)
        return tuple(path.expanduser().stat().st_mtime_ns for path in paths if path is not None)


def server_context(where: str, wanted: ClientTls) -> RotatingContext:
    """What connections to a server are made with. ``where``: its configuration key. Raises ConfigError."""
    problems: list[str] = []
    if wanted.ca is not None:
        problems += problems_of_ca(f"{where}.ca", wanted.ca.expanduser())
    if wanted.certificate is not None and wanted.key is not None:
        certificate, key = wanted.certificate.expanduser(), wanted.key.expanduser()
        problems += problems_of_identity(where, certificate, key)
        problems += problem_of_age(f"{where}.certificate", certificate)
    if problems:
        raise ConfigError(problems)
    context = RotatingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.wanted = wanted
    if wanted.ca is None:
        context.load_default_certs()
    context.load()
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
            made = Authority.make("Parley development CA").pair
            write_private(self._key_file, made.key)
            write_private(self.certificate, made.certificate)
        return self.certificate

    def signer(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """The CA's certificate and key; made when they are not there."""
        authority = self._authority()
        return authority.certificate, authority.key

    def issue(self, name: str, names: Iterable[str]) -> CertificateFiles:
        """A certificate for server and client use, for host names and addresses; kept until it nears its end."""
        files = CertificateFiles(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        wanted = list(names)
        self.ensure()
        if not self._is_good(files, wanted):
            made = self._authority().issue(wanted)
            write_private(files.key, made.key)
            write_private(files.certificate, made.certificate)
        return files

    def _authority(self) -> Authority:
        self.ensure()
        return Authority.read(self.certificate.read_bytes(), self._key_file.read_bytes())

    @staticmethod
    def _is_good(files: CertificateFiles, wanted: list[str]) -> bool:
        """Whether a certificate is there, names all that is wanted, and lasts a while."""
        try:
            certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        except (OSError, ValueError):
            return False
        return files.key.exists() and not reason_to_renew(certificate, wanted)
