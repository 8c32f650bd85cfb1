"""A certificate authority of one's own: what it signs, and when that is renewed."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509

from parley.platform.authority import (
    CA_DAYS,
    LEAF_DAYS,
    RENEW_DAYS,
    Authority,
    days_left,
    is_signed_by,
    missing_names,
    reason_to_renew,
)

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
NAMES = ["phones.example.test", "192.0.2.7", "2001:db8::7"]


def leaf(authority: Authority, names: list[str], now: datetime.datetime = NOW) -> x509.Certificate:
    """The first certificate of what is issued."""
    return x509.load_pem_x509_certificate(authority.issue(names, now=now).certificate.encode())


def test_it_signs_names_and_addresses_and_sends_itself_along() -> None:
    authority = Authority.make("An authority", now=NOW)
    issued = authority.issue([*NAMES, NAMES[0]], now=NOW)
    first, second = x509.load_pem_x509_certificates(issued.certificate.encode())
    assert second == authority.certificate
    assert is_signed_by(first, authority.certificate)
    assert missing_names(first, NAMES) == []
    assert missing_names(first, ["192.0.2.8", "phones.example.test"]) == ["192.0.2.8"]
    assert days_left(first, NOW) == LEAF_DAYS
    assert first.not_valid_before_utc < NOW, "clocks of others may be late"


def test_it_is_read_back_from_its_pem() -> None:
    authority = Authority.make("An authority")
    again = Authority.read(authority.pair.certificate.encode(), authority.pair.key.encode())
    assert again.certificate == authority.certificate
    assert is_signed_by(leaf(again, NAMES), authority.certificate)


def test_the_key_of_another_is_refused() -> None:
    one, other = Authority.make("One").pair, Authority.make("Other").pair
    with pytest.raises(ValueError, match="not the one of the authority's certificate"):
        Authority.read(one.certificate.encode(), other.key.encode())
    with pytest.raises(ValueError, match="PEM"):
        Authority.read(b"no certificate", one.key.encode())


def test_reasons_to_renew() -> None:
    authority = Authority.make("An authority", now=NOW)
    certificate = leaf(authority, NAMES)

    def reason(names: list[str], days: int, signed_by: x509.Certificate | None = None) -> str:
        return reason_to_renew(certificate, names, signed_by=signed_by, now=NOW + datetime.timedelta(days=days))

    assert reason(NAMES, 0, authority.certificate) == ""
    assert reason(NAMES[:1], LEAF_DAYS - RENEW_DAYS - 1) == ""
    assert reason(NAMES, LEAF_DAYS - RENEW_DAYS) == "it ends in 30 days"
    assert reason(NAMES, LEAF_DAYS + 1) == "it has ended"
    assert reason([*NAMES, "new.example.test"], 0) == "it does not name new.example.test"
    assert reason(NAMES, 0, Authority.make("Another").certificate) == "another authority signed it"


def test_nothing_outlives_the_authority() -> None:
    authority = Authority.make("An old authority", now=NOW - datetime.timedelta(days=CA_DAYS - 100))
    assert days_left(leaf(authority, NAMES), NOW) == 100
