"""Addresses, logins and names of users."""

from __future__ import annotations

import pytest

from parley.addressbook import entries
from parley.proto.addressbook.v1.addressbook_pb2 import User
from services.addressbook.users import (
    UserError,
    check_display_name,
    check_login_names,
    digest_logins,
    login_key,
    login_keys,
    normal_address,
)

DOMAINS = ["example.test", "Other.Test"]
ALICE = User(address="sip:alice@example.test", login_names=["EXAMPLE\\alice", "al"])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("alice", "sip:alice@example.test"),
        (" alice@example.test ", "sip:alice@example.test"),
        ("sip:Alice@Example.Test", "sip:alice@example.test"),
        ("sips:alice@other.test", "sip:alice@other.test"),
        ("a%6Cice", "sip:alice@example.test"),
        ("%4Aoe", "sip:joe@example.test"),
        ("%C3%96l@example.test", "sip:%C3%B6l@example.test"),
    ],
)
def test_what_people_type_becomes_an_address(text: str, address: str) -> None:
    assert normal_address(text, DOMAINS) == address
    assert entries.normal_address(address) == address  # the entry of the user has the same


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the address is empty"),
        ("   ", "the address is empty"),
        ("alice@elsewhere.test", "elsewhere.test is not served here; served are: example.test, Other.Test"),
        ("tel:+1201555", "no address of a user|no SIP address"),
        ("sip:alice@example.test:5060", "write user@domain"),
        ("sip:alice@example.test;x=1", "write user@domain"),
        ("sip:alice:secret@example.test", "write user@domain"),
        ("a b@example.test", "is no SIP address \\(Bad Character in URI\\)"),
        ("@example.test", "is no SIP address \\(Empty User in URI\\)"),
        ("a" * 250, "longer than 255 characters"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        normal_address(text, DOMAINS)


def test_a_digest_is_made_for_every_form_of_login() -> None:
    assert digest_logins(ALICE) == ["alice", "alice@example.test", "EXAMPLE\\alice", "al"]


def test_logins_are_looked_up_without_regard_to_case() -> None:
    assert login_keys(ALICE) == ["alice@example.test", "example\\alice", "al@example.test"]
    assert login_keys(User(address="sip:%C3%B6l@example.test")) == [login_key("%C3%B6l@example.test", "x")]
    assert login_key("Alice", "Example.Test") == "alice@example.test"
    assert login_key("sip:ALICE@example.test", "other.test") == "alice@example.test"
    assert login_key("Example\\Alice", "other.test") == "example\\alice"


def test_login_names_are_kept_once_in_their_order() -> None:
    assert check_login_names([" b ", "a", "b", ""]) == ["b", "a"]


@pytest.mark.parametrize("name", ["a b", "a\nb", 'a"b', "x" * 129])
def test_login_names_that_no_client_could_send_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a login name"):
        check_login_names([name])


def test_a_user_has_not_any_number_of_login_names() -> None:
    with pytest.raises(UserError, match="at most 8"):
        check_login_names([f"n{index}" for index in range(9)])


def test_display_names() -> None:
    assert check_display_name("  Ällice ") == "Ällice"
    for name in ("x" * 129, "a\rb"):
        with pytest.raises(UserError, match="display name"):
            check_display_name(name)
