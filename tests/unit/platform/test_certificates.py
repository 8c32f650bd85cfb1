"""What is said of certificate files that are wrong."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from parley.platform.certificates import problem_of_age, problem_of_chain, problems_of_ca, problems_of_identity
from parley.platform.config import ClientTls, ConfigError
from parley.platform.tls import CertificateFiles, DevelopmentCa, ServerTls, server_context

DAY = datetime.timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> DevelopmentCa:
    return DevelopmentCa(tmp_path / "ca")


@pytest.fixture
def files(authority: DevelopmentCa) -> CertificateFiles:
    return authority.issue("server", ["a.test"])


def test_good_files(files: CertificateFiles, authority: DevelopmentCa) -> None:
    assert problems_of_identity("x", files.certificate, files.key) == []
    assert problem_of_age("x", files.certificate) == []
    assert problems_of_ca("x", authority.certificate) == []
    assert problem_of_chain("x", files.certificate, authority.certificate) == []


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    assert problems_of_identity("web.tls", tmp_path / "c", tmp_path / "k") == [
        f"web.tls.certificate: cannot read {tmp_path}/c: No such file or directory",
        f"web.tls.key: cannot read {tmp_path}/k: No such file or directory",
    ]
    assert problems_of_ca("web.tls.ca", tmp_path) == [f"web.tls.ca: cannot read {tmp_path}: Is a directory"]


@pytest.mark.parametrize("content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_and_no_key(tmp_path: Path, files: CertificateFiles, content: bytes) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    assert problems_of_identity("x", broken, files.key) == [f"x.certificate: {broken} holds no certificate (PEM)"]
    assert problems_of_identity("x", files.certificate, broken) == [f"x.key: {broken} holds no private key (PEM)"]
    assert problems_of_ca("x.ca", broken) == [f"x.ca: {broken} holds no certificate (PEM)"]


def test_key_with_a_passphrase(tmp_path: Path, files: CertificateFiles) -> None:
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pass")
        )
    )
    assert problems_of_identity("x", files.certificate, locked) == [
        f"x.key: {locked} needs a passphrase; take the key without one"
    ]


def test_key_of_another_certificate(files: CertificateFiles, authority: DevelopmentCa) -> None:
    other = authority.issue("other", ["b.test"])
    assert problems_of_identity("x", files.certificate, other.key) == [
        f"x: the key {other.key} is not the one of the certificate {files.certificate}"
    ]


def test_expired_and_not_yet_valid(files: CertificateFiles, authority: DevelopmentCa) -> None:
    today = datetime.datetime.now(datetime.UTC)
    (late,) = problem_of_age("x.certificate", files.certificate, now=today + 400 * DAY)
    assert late.startswith(f"x.certificate: {files.certificate} has expired on ")
    (early,) = problem_of_age("x.certificate", files.certificate, now=today - DAY)
    assert early.endswith("is the clock right?")
    assert problems_of_ca("x.ca", authority.certificate, now=today + 4000 * DAY)[0].startswith("x.ca: ")


def test_authority_that_expired_does_not_matter_beside_another(tmp_path: Path, files: CertificateFiles) -> None:
    authority = DevelopmentCa(tmp_path / "more").ensure()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(files.certificate.read_bytes() + authority.read_bytes())
    in_two_years = datetime.datetime.now(datetime.UTC) + 800 * DAY
    assert problems_of_ca("x", bundle, now=in_two_years) == []


def test_certificate_of_another_authority(tmp_path: Path, files: CertificateFiles) -> None:
    other = DevelopmentCa(tmp_path / "other").ensure()
    assert problem_of_chain("platform.rpc.tls", files.certificate, other) == [
        f"platform.rpc.tls: no authority in {other} signed the certificate {files.certificate}"
    ]


def test_context_for_a_server_checks_its_files(tmp_path: Path, files: CertificateFiles, authority: DevelopmentCa) -> None:
    context = server_context("x", ClientTls(ca=authority.certificate, certificate=files.certificate, key=files.key))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    with pytest.raises(ConfigError, match=r"x\.ca: cannot read"):
        server_context("x", ClientTls(ca=tmp_path / "none"))


def test_context_takes_an_authority_that_was_added_and_leaves_broken_files(
    tmp_path: Path, authority: DevelopmentCa, caplog: pytest.LogCaptureFixture
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.ensure().read_bytes())
    context = server_context("x", ClientTls(ca=ca))
    assert len(context.get_ca_certs()) == 1
    ca.write_bytes(b"half a file")
    context.refresh()
    assert "could not be read again" in caplog.text
    ca.write_bytes(DevelopmentCa(tmp_path / "new").ensure().read_bytes())
    context.refresh()
    assert len(context.get_ca_certs()) == 2


def test_listener_with_wrong_files_says_what_is_wrong(files: CertificateFiles, authority: DevelopmentCa) -> None:
    other = authority.issue("other", ["b.test"])
    with pytest.raises(ConfigError, match="is not the one of the certificate"):
        ServerTls(CertificateFiles(files.certificate, other.key))
    with pytest.raises(ConfigError, match=r"tls\.peer_ca: .* holds no certificate"):
        ServerTls(files, client_ca=files.key)


def test_certificate_and_key_go_together(files: CertificateFiles) -> None:
    with pytest.raises(ValueError, match="certificate and key go together"):
        ClientTls(certificate=files.certificate)
