"""Certificates of users: requests that are taken and refused, what is issued, whose a certificate is."""

from __future__ import annotations

import datetime
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from parley.sipae.certificates import MAX_REQUEST, CertificateError, address_of, digest_of, issue, parse_request
from tests.support.dsk import certificate_request, rsa_key, self_signed

NOW = 1_767_225_600.0  # 2026-01-01


@cache
def ca_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def issued(address: str = "sip:alice@example.test") -> x509.Certificate:
    key = parse_request(certificate_request(rsa_key()))
    return issue(key, address, self_signed(ca_key(), "CA"), ca_key(), now=NOW, seconds=7200)


def test_an_issued_certificate_is_its_users_for_a_while() -> None:
    certificate = issued()
    certificate.verify_directly_issued_by(self_signed(ca_key(), "CA"))
    assert certificate.public_key() == rsa_key().public_key()
    assert certificate.not_valid_after_utc == datetime.datetime(2026, 1, 1, 2, tzinfo=datetime.UTC)
    assert certificate.not_valid_before_utc < datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    der = certificate.public_bytes(Encoding.DER)
    assert address_of(der) == "sip:alice@example.test"
    assert len(digest_of(der)) == 32


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"", "no PKCS#10"),
        (b"\x30\x03\x02\x01\x01", "no PKCS#10"),
        (b"\x30" * (MAX_REQUEST + 1), "too long"),
        (certificate_request(ca_key()), "RSA of 2048"),
        (certificate_request(rsa_key(0, 1024)), "RSA of 2048"),
        (certificate_request(rsa_key())[:-1] + bytes([certificate_request(rsa_key())[-1] ^ 1]), "not signed by its key"),
    ],
    ids=["empty", "other DER", "long", "elliptic", "short key", "not proved"],
)
def test_requests_that_are_refused(request_: bytes, reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        parse_request(request_)


@given(st.binary(max_size=200), st.integers(0, 600))
def test_any_bytes_are_a_request_or_refused(other: bytes, at: int) -> None:
    request = certificate_request(rsa_key())
    changed = request[:at] + other + request[at + len(other) :]
    try:
        key = parse_request(changed)
    except CertificateError:
        return
    assert key.key_size >= 2048


@pytest.mark.parametrize(
    "der",
    [
        b"", b"\x30\x00", self_signed(rsa_key(), "alice").public_bytes(Encoding.DER),
        issued().public_bytes(Encoding.DER).replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020133"), 1),
    ],
    ids=["nothing", "empty", "no names", "of version 52"],
)  # fmt: skip
def test_certificates_that_name_nobody(der: bytes) -> None:
    with pytest.raises(CertificateError, match="names no user"):
        address_of(der)


def test_an_address_that_no_certificate_can_name() -> None:
    with pytest.raises(CertificateError, match="cannot stand"):
        issued("sip:ž@example.test")
