"""What a front end shows in handshakes of TLS-DSK, and where it sends clients for certificates."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from parley.platform.config import ConfigError
from parley.sipae.dsk import DskContext
from services.frontend.communicator import sign_in_servers
from services.frontend.config import FrontendConfig
from services.frontend.dsk import dsk_context, renew
from tests.support.dsk import DskClient, rsa_key, self_signed

SCHEMES = {"example.test": ["TLS-DSK", "NTLM"]}


def config(folder: Path | None = None, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None) -> FrontendConfig:
    """Of a front end that offers it, with a certificate of that key."""
    tls: dict[str, str] = {}
    if folder is not None and key is not None:
        tls = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
        (folder / "cert.pem").write_bytes(self_signed(key, "configured").public_bytes(Encoding.PEM))
        (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return FrontendConfig.model_validate({"communicator": {"schemes": SCHEMES, "server_name": "ocs.test"}, "tls": tls})


def shown(config: FrontendConfig) -> x509.Certificate:
    """The certificate in the server's flight."""
    context = dsk_context(config)
    assert context is not None
    return shown_by(context)


def shown_by(context: DskContext) -> x509.Certificate:
    """The certificate in the flight of a context."""
    answer = context.handshake().receive(DskClient(None, None).step())
    messages = answer[5:]
    messages = messages[4 + int.from_bytes(messages[1:4], "big") :]
    assert messages[0] == 11
    return x509.load_der_x509_certificate(messages[10 : 10 + int.from_bytes(messages[7:10], "big")])


def test_it_is_offered_where_a_domain_lists_it_and_nowhere_else() -> None:
    plain = FrontendConfig()
    assert plain.dsk_domains == []
    assert dsk_context(plain) is None
    assert sign_in_servers(plain)["example.test"].schemes == ("NTLM",)
    server = sign_in_servers(config(), dsk=dsk_context(config()))["example.test"]
    assert server.schemes == ("TLS-DSK", "NTLM")
    assert server.dsk is not None
    assert server.certificate_url == "https://ocs.test:8443/CertProv/CertProvisioningService.svc"
    with pytest.raises(ValueError, match="should match pattern"):
        FrontendConfig.model_validate({"communicator": {"certificate_url": 'https://x" y'}})


def test_the_certificate_of_the_front_end_is_shown_when_its_key_is_rsa(tmp_path: Path) -> None:
    assert shown(config(tmp_path, rsa_key())).public_key() == rsa_key().public_key()
    made = shown(config(tmp_path, ec.generate_private_key(ec.SECP256R1())))
    assert isinstance(made.public_key(), rsa.RSAPublicKey)
    assert made.subject.rfc4514_string() == "CN=ocs.test"
    assert shown(config()).subject == made.subject


def test_handshakes_follow_the_files_of_the_certificate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = config(tmp_path, rsa_key())
    context = dsk_context(before)
    assert context is not None
    config(tmp_path, rsa_key(1))
    renew(context, before)
    assert shown_by(context).public_key() == rsa_key(1).public_key()
    (tmp_path / "key.pem").write_text("nothing")
    renew(context, before)
    assert "go on with the certificate before" in caplog.text
    config(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    renew(context, before)
    assert shown_by(context).public_key() == rsa_key(1).public_key()


def test_a_certificate_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    broken = config(tmp_path, rsa_key())
    (tmp_path / "key.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"frontend\.tls"):
        dsk_context(broken)
    broken = config(tmp_path, rsa_key())
    (tmp_path / "cert.pem").write_bytes(self_signed(rsa_key(1), "other").public_bytes(Encoding.PEM))
    with pytest.raises(ConfigError, match=r"frontend\.tls: .*not belong"):
        dsk_context(broken)
