"""Credentials: derived as the schemes want, sealed at rest."""

from __future__ import annotations

import hashlib

import pytest
from pydantic import ValidationError

from parley.ntlm.md4 import nt_hash
from services.addressbook.config import AddressBookConfig
from services.addressbook.credentials import PasswordError, Vault, derive

ALICE = "sip:alice@example.test"
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PASSWORD = "correct horse"


def test_the_digest_secrets_are_those_of_rfc_7616() -> None:
    credentials = derive(PASSWORD, ["alice", "EXAMPLE\\alice"], "example.test", min_length=8)
    assert credentials.nt_hash == nt_hash(PASSWORD)
    for login in ("alice", "EXAMPLE\\alice"):
        text = f"{login}:example.test:{PASSWORD}".encode()
        assert credentials.digests[login].md5 == hashlib.md5(text).digest()
        assert credentials.digests[login].sha256 == hashlib.sha256(text).digest()


def test_a_password_counts_in_its_composed_form() -> None:
    assert derive("e\u0301" * 8, ["a"], "h", min_length=8) == derive("\u00e9" * 8, ["a"], "h", min_length=8)
    with pytest.raises(PasswordError, match="at least 8"):
        derive("e\u0301" * 7, ["a"], "h", min_length=8)


@pytest.mark.parametrize(
    ("password", "problem"),
    [("", "at least 8"), ("1234567", "at least 8"), ("x" * 257, "at most 256"), ("1234\x007890", "control")],
)
def test_passwords_that_may_not_be_used(password: str, problem: str) -> None:
    with pytest.raises(PasswordError, match=problem) as caught:
        derive(password, ["a"], "h", min_length=8)
    assert not password or password not in str(caught.value)


def test_what_is_sealed_opens_again_and_shows_nothing() -> None:
    vault = Vault(KEY)
    credentials = derive(PASSWORD, ["alice"], "example.test", min_length=8)
    sealed = vault.seal(credentials, ALICE)
    assert vault.open(sealed, ALICE) == credentials
    assert vault.seal(credentials, ALICE) != sealed
    for secret in (credentials.nt_hash, credentials.digests["alice"].md5, credentials.digests["alice"].sha256):
        assert secret not in sealed
        assert secret.hex().encode() not in sealed
    assert b"alice" not in sealed


def test_what_is_sealed_belongs_to_one_user_and_one_key() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(derive(PASSWORD, ["alice"], "example.test", min_length=8), ALICE)
    with pytest.raises(ValueError, match="somebody else's"):
        vault.open(sealed, "sip:bob@example.test")
    with pytest.raises(ValueError, match="were changed"):
        vault.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), ALICE)
    for broken in (b"", sealed[:3]):
        with pytest.raises(ValueError, match="key that is not known"):
            vault.open(broken, ALICE)
    with pytest.raises(ValueError, match="key that is not known"):
        Vault(OTHER_KEY).open(sealed, ALICE)


def test_the_key_before_opens_but_does_not_seal() -> None:
    credentials = derive(PASSWORD, ["alice"], "example.test", min_length=8)
    sealed = Vault(KEY).seal(credentials, ALICE)
    vault = Vault(OTHER_KEY, [KEY])
    assert vault.open(sealed, ALICE) == credentials
    assert not vault.is_current(sealed)
    anew = vault.seal(credentials, ALICE)
    assert vault.is_current(anew)
    assert Vault(OTHER_KEY).open(anew, ALICE) == credentials


def test_a_previous_key_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="64 hex digits"):
        AddressBookConfig(previous_master_key="abc")
    assert AddressBookConfig(previous_master_key="ab" * 32).previous_master_key.get_secret_value() == "ab" * 32
