"""Users: addresses, the forms of login, and the rules for both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from parley.addressbook import entries
from parley.addressbook.errors import EntryError
from parley.proto.addressbook.v1.addressbook_pb2 import User

_MAX_LOGINS = 8
_MAX_NAME = 128


class UserError(ValueError):
    """What is wrong with a user, for who wants to make it."""


def normal_address(text: str, domains: Sequence[str]) -> str:
    """``sip:user@domain`` of what a person typed: "alice@example.test", "sip:alice@example.test", or "alice".

    A bare name is in the first domain. Raises UserError.
    """
    text = text.strip()
    if not text:
        raise UserError("the address is empty")
    try:
        address = entries.normal_address(text if "@" in text else f"{text}@{domains[0]}")  # as the entry of the user has it
    except EntryError as error:
        raise UserError(error.problem) from None
    host = address.rpartition("@")[2]
    if host not in {domain.lower() for domain in domains}:
        raise UserError(f"{host} is not served here; served are: {', '.join(domains)}")
    return address


def digest_logins(user: User) -> list[str]:
    """The logins that a digest client may send, exactly as it sends them."""
    name, _, domain = user.address.removeprefix("sip:").partition("@")
    return list(dict.fromkeys([name, f"{name}@{domain}", *user.login_names]))


def login_keys(user: User) -> list[str]:
    """The logins as they are looked up: lower case, a bare name with its domain."""
    name, _, domain = user.address.removeprefix("sip:").partition("@")
    return list(dict.fromkeys([login_key(name, domain), *(login_key(login, domain) for login in user.login_names)]))


def login_key(login: str, realm: str) -> str:
    """What a login is looked up by; a bare name is meant in the realm."""
    text = login.strip().lower()
    if text.startswith("sip:"):
        text = text[4:]
    return text if "@" in text or "\\" in text else f"{text}@{realm.lower()}"


def check_login_names(names: Iterable[str]) -> list[str]:
    """Login names in their order, once each. Raises UserError."""
    kept = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if len(kept) > _MAX_LOGINS:
        raise UserError(f"a user may have at most {_MAX_LOGINS} login names")
    for name in kept:
        if len(name) > _MAX_NAME or any(ord(char) < 33 for char in name) or '"' in name:
            raise UserError(f"{name!r} cannot be a login name")
    return kept


def check_display_name(name: str) -> str:
    """A display name without blanks around it. Raises UserError."""
    name = name.strip()
    if len(name) > _MAX_NAME or any(ord(char) < 32 for char in name):
        raise UserError("the display name is too long or holds control characters")
    return name
