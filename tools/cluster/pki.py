"""Keys and certificates of a cluster: one authority, and a certificate for each program."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME: Final = datetime.timedelta(days=365)
_PRIVATE: Final = 0o600


class Authority:
    """Signs with ``ca.key`` of a folder; makes the folder and the key when they are absent."""

    def __init__(self, folder: Path, server: str) -> None:
        """``server`` is the address of the API that goes into kubeconfigs."""
        self.folder = folder
        self._server = server
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / "ca.crt").exists():
            self._make_authority()
        self._key = _load(folder / "ca.key")
        self._certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())

    def issue(self, file: str, name: str, group: str = "", hosts: Sequence[str] = ()) -> None:
        """Writes ``file.crt`` and ``file.key`` for a user of a group, and for a server of those names and addresses.

        What is there already stays.
        """
        if (self.folder / f"{file}.crt").exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if group:
            attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        builder = (
            _builder(x509.Name(attributes), self._certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
            )
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        _write_key(self.folder / f"{file}.key", key)
        certificate = builder.sign(self._key, hashes.SHA256())
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def kubeconfig(self, path: Path, file: str) -> None:
        """Writes how the holder of a certificate reaches the API; readable by root alone."""
        user = {
            "client-certificate-data": self._base64(f"{file}.crt"),
            "client-key-data": self._base64(f"{file}.key"),
        }
        cluster = {"server": self._server, "certificate-authority-data": self._base64("ca.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "parley", "cluster": cluster}],
            "users": [{"name": file, "user": user}],
            "contexts": [{"name": "parley", "context": {"cluster": "parley", "user": file}}],
            "current-context": "parley",
        }
        _write_private(path, yaml.safe_dump(document, sort_keys=False).encode())

    def signing_key(self, file: str) -> None:
        """Writes ``file.key`` and ``file.pub``, which sign and prove the tokens of service accounts."""
        if not (self.folder / f"{file}.pub").exists():
            key = ec.generate_private_key(ec.SECP256R1())
            _write_key(self.folder / f"{file}.key", key)
            (self.folder / f"{file}.pub").write_bytes(
                key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            )

    def bundle(self) -> str:
        """The authority's certificate, as fields of Kubernetes named caBundle have it."""
        return self._base64("ca.crt")

    def _base64(self, file: str) -> str:
        return base64.b64encode((self.folder / file).read_bytes()).decode()

    def _make_authority(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "parley-cluster-ca")])
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write_key(self.folder / "ca.key", key)
        (self.folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        key_encipherment=not signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no key of an elliptic curve")
    return key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = serialization.Encoding.PEM
    _write_private(
        path, key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )


def _write_private(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as file:
        file.write(data)
