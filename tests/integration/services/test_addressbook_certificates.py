"""Certificates of users on a real store: who gets one, how long it counts, what ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc import StatusCode

from parley.platform.clock import FakeClock
from parley.platform.config import ConfigError
from parley.platform.tls import DevelopmentCa
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.sipae.certificates import address_of, digest_of
from services.addressbook.certificates import USERS_CA, Issuer
from services.addressbook.config import CertificatesConfig
from tests.integration.services.rig import store_of
from tests.integration.services.test_addressbook import Book, book, code_of
from tests.support.dsk import certificate_request, rsa_key, self_signed
from tests.support.valkey import ValkeyCluster

pytestmark = pytest.mark.valkey

__all__ = ["book"]

ALICE = "sip:alice@example.test"


async def issue(book: Book, device: str = "{pc}", *, address: str = ALICE, version: int = 1) -> bytes:
    """A certificate, DER."""
    request = pb.IssueCertificateRequest(
        address=address, request=certificate_request(rsa_key()), device=device, user_version=version
    )
    return (await book.surface.IssueCertificate(request, None)).certificate


async def listed(book: Book, address: str = "alice") -> list[pb.Certificate]:
    """Those in force."""
    return list((await book.surface.ListCertificates(pb.ListCertificatesRequest(address=address), None)).certificates)


async def signs_in(book: Book, der: bytes, address: str = "") -> pb.CredentialsResult:
    """The result of showing a certificate."""
    lookup = pb.CredentialsLookup(
        id=4, login=address or address_of(der), realm="example.test", certificate_sha256=digest_of(der)
    )
    (result,) = await book.surface.get_credentials([lookup])
    return result


async def withdraw(book: Book, prefix: bytes = b"", address: str = "alice") -> int:
    """How many were withdrawn."""
    request = pb.WithdrawCertificatesRequest(address=address, sha256_prefix=prefix)
    return (await book.surface.WithdrawCertificates(request, None)).withdrawn


async def test_a_certificate_finds_its_user_without_the_password(book: Book, clock: FakeClock) -> None:
    await book.create("alice")
    der = await issue(book)
    certificate = x509.load_der_x509_certificate(der)
    certificate.verify_directly_issued_by(DevelopmentCa(book.data / USERS_CA).signer()[0])
    assert certificate.not_valid_after_utc.timestamp() == pytest.approx(clock.wall() + 86_400, abs=1)
    result = await signs_in(book, der)
    assert result.status.code == 0
    found = result.credentials
    assert (found.address, found.display_name, found.enabled, found.version) == (ALICE, "Somebody", True, 1)
    assert (found.nt_hash, found.ha1_md5, found.ha1_sha256) == (b"", b"", b"")
    (kept,) = await listed(book)
    assert (kept.sha256, kept.device) == (digest_of(der), "{pc}")
    assert kept.serial == f"{certificate.serial_number:x}"
    assert kept.expires_at_ms - kept.issued_at_ms == pytest.approx(86_400_000, abs=1000)


async def test_a_certificate_is_nobody_elses(book: Book) -> None:
    await book.create("alice")
    await book.create("bob")
    der = await issue(book)
    not_found = StatusCode.NOT_FOUND.value[0]
    assert (await signs_in(book, der, "sip:bob@example.test")).status.code == not_found
    assert (await signs_in(book, der, "sip:nobody@example.test")).status.code == not_found
    stranger = self_signed(rsa_key(), "alice").public_bytes(Encoding.DER)
    assert (await signs_in(book, stranger, ALICE)).status.code == not_found
    lookups = [
        pb.CredentialsLookup(id=1, login=ALICE, realm="example.test", certificate_sha256=digest_of(der)),
        pb.CredentialsLookup(id=2, login="alice", realm="example.test"),
        pb.CredentialsLookup(id=3, login="sip:bob@example.test", realm="example.test", certificate_sha256=digest_of(der)),
    ]
    mixed = await book.surface.get_credentials(lookups)
    assert [(result.id, result.status.code, bool(result.credentials.nt_hash)) for result in mixed] == [
        (1, 0, False), (2, 0, True), (3, not_found, False),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["time", "password", "disabling", "removal", "withdrawal", "name"])
async def test_what_ends_certificates(book: Book, clock: FakeClock, what: str) -> None:
    await book.create("alice")
    der = await issue(book)
    match what:
        case "time":
            clock.advance(86_401)
        case "password":
            await book.set_password("alice", "another password")
        case "disabling":
            await book.surface.SetEnabled(pb.SetEnabledRequest(address="alice", enabled=False), None)
        case "removal":
            await book.delete("alice")
            await book.create("alice")
        case "withdrawal":
            assert await withdraw(book) == 1
        case "name":  # which is nobody's business
            await book.names("alice", add=("EXAMPLE\\alice",))
    result = await signs_in(book, der)
    assert result.status.code == (0 if what == "name" else StatusCode.NOT_FOUND.value[0])
    assert len(await listed(book)) == (1 if what == "name" else 0)


async def test_a_device_has_one_and_a_user_a_few(book: Book, clock: FakeClock) -> None:
    await book.create("alice")
    first = await issue(book, "{a}")
    clock.advance(1)
    again = await issue(book, "{a}")
    assert [entry.sha256 for entry in await listed(book)] == [digest_of(again)]
    assert (await signs_in(book, first)).status.code
    clock.advance(1)
    other = await issue(book, "{b}")
    clock.advance(1)
    third = await issue(book, "{c}")
    assert [entry.sha256 for entry in await listed(book)] == [digest_of(other), digest_of(third)]


async def test_one_of_several_is_withdrawn_and_told(book: Book) -> None:
    await book.create("alice")
    one, other = await issue(book, "{a}"), await issue(book, "{b}")
    assert await withdraw(book, digest_of(one)[:4]) == 1
    assert [entry.sha256 for entry in await listed(book)] == [digest_of(other)]
    event = (await book.events())[-1]
    assert (event.kind, event.address) == (UserChanged.KIND_CERTIFICATES_WITHDRAWN, ALICE)
    assert await withdraw(book, digest_of(one)) == 0
    assert await code_of(withdraw(book, b"abc")) is StatusCode.INVALID_ARGUMENT
    assert await code_of(withdraw(book, address="nobody")) is StatusCode.NOT_FOUND
    # what the password allowed before allows no new one
    assert await code_of(issue(book, version=1)) is StatusCode.FAILED_PRECONDITION


async def test_who_gets_none(book: Book) -> None:
    await book.create("alice")
    assert await code_of(issue(book, version=2)) is StatusCode.FAILED_PRECONDITION
    assert await code_of(issue(book, address="sip:nobody@example.test")) is StatusCode.NOT_FOUND
    for device in ("", "two words", "x" * 65, "line\n"):
        assert await code_of(issue(book, device)) is StatusCode.INVALID_ARGUMENT
    bad = pb.IssueCertificateRequest(address=ALICE, request=b"\x30\x00", device="{pc}", user_version=1)
    assert await code_of(book.surface.IssueCertificate(bad, None)) is StatusCode.INVALID_ARGUMENT
    await book.surface.SetEnabled(pb.SetEnabledRequest(address="alice", enabled=False), None)
    assert await code_of(issue(book, version=2)) is StatusCode.FAILED_PRECONDITION


async def test_certificates_on_a_cluster(valkey_cluster: ValkeyCluster, clock: FakeClock, tmp_path: Path) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        book = Book(store, clock, tmp_path)
        await book.create("alice")
        one, other = await issue(book, "{a}"), await issue(book, "{b}")
        assert await withdraw(book, digest_of(one)) == 1
        assert (await signs_in(book, one)).status.code == StatusCode.NOT_FOUND.value[0]
        assert (await signs_in(book, other)).status.code == 0


def test_a_configured_ca_signs(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key, "Example CA")
    files = (tmp_path / "ca.pem", tmp_path / "ca.key")
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    issuer = Issuer(CertificatesConfig(ca_certificate=files[0], ca_key=files[1]), tmp_path / "data")
    issuer.load()
    issuer.issue(ALICE, certificate_request(rsa_key()), 1e9).verify_directly_issued_by(certificate)
    assert not (tmp_path / "data").exists()
    for wrong in (rsa_key(), None):
        files[1].write_bytes(
            wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) if wrong is not None else b"nothing"
        )
        with pytest.raises(ConfigError, match=r"addressbook\.certificates"):
            issuer.load()
    with pytest.raises(ValueError, match="belong together"):
        CertificatesConfig(ca_key=files[1])
