"""Certificate files, looked at before anything uses them.

A mistake that only a person can mend (a file is missing, is no PEM, holds the key of another certificate, has expired) is
told in one sentence each, where OpenSSL and gRPC would say little or nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from parley.platform.authority import is_signed_by
from parley.platform.config import ConfigError


def problems_of_identity(where: str, certificate: Path, key: Path) -> list[str]:
    """What is wrong with a certificate and its key, whatever the time. ``where``: the key that holds both, as "web.tls"."""
    chain, problems = _certificates(f"{where}.certificate", certificate)
    public, more = _public_key(f"{where}.key", key)
    problems += more
    if chain and public is not None and _spki(chain[0].public_key()) != public:
        problems.append(f"{where}: the key {key} is not the one of the certificate {certificate}")
    return problems


def require_identity(where: str, certificate: Path, key: Path) -> None:
    """Raises ConfigError with what is wrong with a certificate and its key, whatever the time."""
    problems = problems_of_identity(where, certificate, key)
    if problems:
        raise ConfigError(problems)


def problem_of_age(where: str, certificate: Path, *, now: datetime.datetime | None = None) -> list[str]:
    """That a certificate has expired, or is not valid yet."""
    chain, _ = _certificates(where, certificate)
    return _age(where, certificate, chain[:1], now)


def problems_of_ca(where: str, ca: Path, *, now: datetime.datetime | None = None) -> list[str]:
    """What is wrong with a file of certificate authorities; one that has expired does not matter beside others."""
    authorities, problems = _certificates(where, ca)
    return problems or _age(where, ca, authorities, now)


def problem_of_chain(where: str, certificate: Path, ca: Path) -> list[str]:
    """That none of the authorities in ``ca`` signed a certificate; both files have been looked at before."""
    chain, wrong = _certificates(where, certificate)
    authorities, also_wrong = _certificates(where, ca)
    if wrong or also_wrong:
        return []
    found = chain[0]
    for _ in range(len(chain)):
        if found in authorities or any(is_signed_by(found, authority) for authority in authorities):
            return []
        above = [candidate for candidate in chain[1:] if candidate != found and is_signed_by(found, candidate)]
        if not above:
            break
        found = above[0]
    return [f"{where}: no authority in {ca} signed the certificate {certificate}"]


def problem_of_name(where: str, certificate: Path, name: str) -> list[str]:
    """That a certificate is not for a host name (RFC 9525); the file has been looked at before."""
    chain, wrong = _certificates(where, certificate)
    if wrong:
        return []
    try:
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = [each.lower() for each in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        known = []
    _, _, domain = name.lower().partition(".")
    if name.lower() in known or f"*.{domain}" in known:
        return []
    has = ", ".join(known) or "none"
    return [f"{where}: the certificate {certificate} is not for {name}; its names: {has}"]


def _certificates(where: str, path: Path) -> tuple[Sequence[x509.Certificate], list[str]]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes()), []
    except OSError as error:
        return [], [f"{where}: cannot read {path}: {error.strerror or error}"]
    except ValueError:
        return [], [f"{where}: {path} holds no certificate (PEM)"]


def _public_key(where: str, path: Path) -> tuple[bytes | None, list[str]]:
    """What the certificate of a private key holds of it."""
    try:
        return _spki(serialization.load_pem_private_key(path.read_bytes(), None).public_key()), []
    except OSError as error:
        return None, [f"{where}: cannot read {path}: {error.strerror or error}"]
    except TypeError:
        return None, [f"{where}: {path} needs a passphrase; take the key without one"]
    except (ValueError, UnsupportedAlgorithm):
        return None, [f"{where}: {path} holds no private key (PEM)"]


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # each kind of key has it, the union does not say so
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _age(where: str, path: Path, certificates: Sequence[x509.Certificate], now: datetime.datetime | None) -> list[str]:
    """That none of the certificates is valid now."""
    now = now or datetime.datetime.now(datetime.UTC)
    if not certificates or any(found.not_valid_before_utc <= now <= found.not_valid_after_utc for found in certificates):
        return []
    last = max(certificates, key=lambda found: found.not_valid_after_utc)
    if now > last.not_valid_after_utc:
        return [f"{where}: {path} has expired on {last.not_valid_after_utc:%Y-%m-%d}; put a new one there"]
    return [f"{where}: {path} is valid from {last.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; is the clock right?"]
