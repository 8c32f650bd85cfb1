"""The server's side of TLS-DSK at a front end: the certificate that it shows in handshakes."""

from __future__ import annotations

import datetime
import logging

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from parley.platform.config import ConfigError
from parley.sipae.dsk import DskContext
from services.frontend.config import FrontendConfig

logger = logging.getLogger(__name__)

_DAYS = 3650


def dsk_context(config: FrontendConfig) -> DskContext | None:
    """The context of handshakes; None when no domain offers TLS-DSK. Raises ConfigError.

    The certificate of the front end serves when its key is RSA, which these handshakes want. Otherwise one is made that
    nobody signed: clients get here over TLS, where they checked whom they talk to.
    """
    if not config.dsk_domains:
        return None
    configured = _configured(config)
    if configured is not None:
        return DskContext(*configured)
    key = rsa.generate_private_key(65537, 2048)
    return DskContext([_certificate(key, config.server_name)], key)


def renew(context: DskContext, config: FrontendConfig) -> None:
    """Follows the files of the front end's certificate; those that are broken are left alone."""
    try:
        configured = _configured(config)
    except ConfigError as error:
        logger.warning("handshakes of TLS-DSK go on with the certificate before: %s", error)
        return
    if configured is not None:
        context.load(*configured)


def _configured(config: FrontendConfig) -> tuple[list[x509.Certificate], rsa.RSAPrivateKey] | None:
    """The configured certificate with its chain, and its key; None when there is none, or none with RSA."""
    tls = config.tls
    if tls.certificate is None or tls.key is None:
        return None
    try:
        chain = x509.load_pem_x509_certificates(tls.certificate.read_bytes())
        key = load_pem_private_key(tls.key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError([f"frontend.tls: the certificate cannot be read: {error}"]) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        logger.info("the key of frontend.tls.certificate is not RSA; handshakes of TLS-DSK show a certificate made here")
        return None
    if chain[0].public_key() != key.public_key():
        raise ConfigError(["frontend.tls: certificate and key do not belong together"])
    return chain, key


def _certificate(key: rsa.RSAPrivateKey, host: str) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    return builder.not_valid_after(now + datetime.timedelta(days=_DAYS)).sign(key, hashes.SHA256())
