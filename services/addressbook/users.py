"""Users: addresses, the forms of login, and the rules for both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, parse_uri

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
    if ":" not in text:
        text = "sip:" + text
    if "@" not in text:
        text = f"{text}@{domains[0]}"
    try:
        uri = parse_uri(text)
    except SipParseError as error:
        raise UserError(f"{text} is no SIP address: {error.reason}") from None
    if (
        uri.scheme not in ("sip", "sips")
        or not uri.user
        or uri.password is not None
        or uri.port is not None
        or len(uri.params)
    ):
        raise UserError(f"{text} is no address of a user; write user@domain")
    if uri.host.lower() not in {domain.lower() for domain in domains}:
        raise UserError(f"{uri.host} is not served here; served are: {', '.join(domains)}")
    if len(text) > 255:
        raise UserError("the address is too long")
    uri.user = uri.user.lower()
    return aor(uri)


def digest_logins(user: User) -> list[str]:
    """The logins that a digest client may send, exactly as it sends them."""
    name, _, domain = user.address.removeprefix("sip:").partition("@")
    return list(dict.fromkeys([name, f"{name}@{domain}", *user.login_names]))


def login_keys(user: User) -> list[str]:
    """The logins as they are looked up: lower case, a bare name with its domain."""
    name, _, domain = user.address.removeprefix("sip:").partition("@")
    return list(dict.fromkeys([f"{name}@{domain}", *(login_key(login, domain) for login in user.login_names)]))


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
