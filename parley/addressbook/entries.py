"""The directory's entries: users, contacts that are no users, and groups (web-services sheet, sections 1.5, 9.1 and 9.3).

An entry is known by its UUID: the objectGUID of Active Directory, the entryUUID of other LDAP servers, or one made from the
SIP address (`uuid_of_name`), so that the same row imported twice is the same entry. Entries are values: a change is another
entry with the same UUID. What the members of a group are is told by UUID; members that the source names and that are not
in the directory (yet) are kept by that name until they are.

`checked` is where outside values become an entry: afterwards texts are trimmed, free of control characters and not longer
than `MAX_TEXT`, the address is "sip:user@host" in lower case, and there are no more values than the limits say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid5

from parley.addressbook.errors import EntryError
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, escape_user, parse_uri, unescape

MAX_TEXT: Final = 256
MAX_ADDRESS: Final = 255
MAX_NUMBERS: Final = 32
MAX_NUMBER: Final = 64
MAX_PROXIES: Final = 64
MAX_MEMBERS: Final = 100_000
MAX_RULE: Final = 4_096
MAX_NAME_OF_MEMBER: Final = 1_024
"""Longest name of a member that is not in the directory: a DN, a mail, an address."""

NAMESPACE: Final = UUID("6d1f2f3e-8d3b-5c58-9a0e-0d5b6a7c4e21")
"""Of the UUIDs that are made from names."""

_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_PLAIN_ADDRESS: Final = re.compile(r"sip:[a-z0-9._-]{1,64}@[a-z0-9][a-z0-9-]{0,59}(?:\.[a-z0-9][a-z0-9-]{0,59}){0,2}")
"""Addresses that are as they have to be."""
_NORMALISED: Final = re.compile(r"tel:\+[0-9]{1,15}(;ext=[0-9]{1,20})?")
TEXT_FIELDS: Final = (
    "address", "display_name", "given_name", "surname", "mail", "mail_nickname", "title", "department", "company", "office",
    "city", "state", "country", "manager",
)  # fmt: skip
"""The fields of an `Entry` that are texts."""
_PLAIN: Final = tuple(name for name in TEXT_FIELDS if name not in ("address", "manager"))
"""Those that may be any text of the usual length."""


class Kind(StrEnum):
    """What an entry is."""

    USER = "user"
    CONTACT = "contact"
    GROUP = "group"


class NumberKind(StrEnum):
    """Which of somebody's numbers."""

    WORK = "work"
    MOBILE = "mobile"
    HOME = "home"
    OTHER = "other"
    IP_PHONE = "ipPhone"


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number of somebody."""

    kind: NumberKind
    raw: str
    """As the source has it."""
    normalised: str = ""
    """``tel:+4930123456``, perhaps with ``;ext=``; "" when no rule gives one."""


@dataclass(frozen=True, slots=True)
class Photo:
    """Which picture somebody has; the picture itself is kept elsewhere."""

    hash: str
    """SHA-256 of the file, hexadecimal in lower case; it changes with the picture."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is in a group. A group with a rule has no other members than those it finds."""

    members: tuple[UUID, ...] = ()
    """Users, contacts and nested groups, each once."""
    unresolved: tuple[str, ...] = ()
    """Members as the source names them that are not in the directory."""
    rule: str = ""
    """What the members of a dynamic group have in common; see `parley.addressbook.group_rules`."""
    hidden: bool = False
    """Nobody is shown who is in it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry comes from. Who syncs a source changes entries of that source only."""

    source: str = "local"
    """``local``, ``csv``, ``scim`` or ``ldap:`` with the name of the server in the configuration."""
    key: str = ""
    """What the source calls it: a DN, an external id."""
    version: str = ""
    """The source's change number or time of the last change, as it writes it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A user, a contact or a group. An empty text is a value that is not there."""

    id: UUID
    kind: Kind
    address: str = ""
    """``sip:user@host``."""
    display_name: str = ""
    given_name: str = ""
    surname: str = ""
    mail: str = ""
    mail_nickname: str = ""
    title: str = ""
    department: str = ""
    company: str = ""
    office: str = ""
    city: str = ""
    state: str = ""
    country: str = ""
    """As the source has it: a code ("DE") or a name."""
    manager: str = ""
    """Who leads, as the source names them: an address, a mail, a DN."""
    numbers: tuple[PhoneNumber, ...] = ()
    """In the order of preference within each kind."""
    proxies: tuple[str, ...] = ()
    """Further addresses with their scheme: ``smtp:``, ``sip:``, ``tel:``."""
    photo: Photo | None = None
    hidden: bool = False
    """Neither found nor written into address books."""
    enabled: bool = True
    membership: Membership | None = None
    """Of groups, and only of those."""
    origin: Origin = field(default_factory=Origin)
    version: int = 0
    """Counts the changes made here; 0 before the first write."""

    @property
    def name(self) -> str:
        """What to show; something for every entry."""
        return self.display_name or " ".join(filter(None, (self.given_name, self.surname))) or self.address_text or self.mail

    @property
    def address_text(self) -> str:
        """The address without "sip:"."""
        return self.address.removeprefix("sip:")

    def numbers_of(self, kind: NumberKind) -> list[PhoneNumber]:
        """The numbers of a kind, the preferred one first."""
        return [number for number in self.numbers if number.kind is kind]

    @property
    def shown(self) -> bool:
        """Whether others may find it."""
        return self.enabled and not self.hidden


def uuid_of_name(kind: Kind, name: str) -> UUID:
    """The UUID of an entry whose source has none; ``name``: what it is known by there, whatever its case."""
    return uuid5(NAMESPACE, f"{kind}:{name.strip().casefold()}")


def normal_address(text: str) -> str:
    """``sip:user@host`` in lower case; "" for "". Raises EntryError."""
    if _PLAIN_ADDRESS.fullmatch(text) is not None:
        return text
    text = text.strip()
    if not text:
        return ""
    try:
        uri = parse_uri(text if ":" in text else f"sip:{text}")
    except SipParseError as error:
        raise EntryError("address", f"{text[:80]!r} is no SIP address ({error.reason}); write user@domain") from None
    if (
        uri.scheme not in ("sip", "sips")
        or not uri.user
        or uri.password is not None
        or uri.port is not None
        or len(uri.params)
    ):
        raise EntryError("address", f"{text[:80]!r} is no address of a user; write user@domain")
    uri.user = escape_user(unescape(uri.user).lower())
    address = aor(uri)
    if len(address) > MAX_ADDRESS:
        raise EntryError("address", f"it is longer than {MAX_ADDRESS} characters")
    return address


def checked(entry: Entry) -> Entry:
    """The entry as it may be kept. Raises EntryError."""
    texts: dict[str, Any] = {name: _text(name, getattr(entry, name)) for name in _PLAIN}
    if texts["mail"] and not _is_mail(texts["mail"]):
        raise EntryError("mail", f"{texts['mail'][:80]!r} is no mail address; write name@domain")
    changed = replace(
        entry, address=normal_address(entry.address), manager=_text("manager", entry.manager, MAX_NAME_OF_MEMBER),
        numbers=_numbers(entry.numbers), proxies=_proxies(entry.proxies), membership=_membership(entry),
        origin=_origin(entry.origin), **texts,
    )  # fmt: skip
    if entry.photo is not None and not _is_photo(entry.photo):
        raise EntryError("photo", "its hash has to be the SHA-256 of the picture in hexadecimal")
    if not changed.name:
        raise EntryError("display_name", "the entry has no name; give a display name, a SIP address or a mail address")
    if changed.kind is Kind.USER and not changed.address:
        raise EntryError("address", "a user needs a SIP address; give one, or make it a contact")
    return changed


def _text(name: str, value: str, limit: int = MAX_TEXT) -> str:
    value = value.strip()
    if len(value) > limit:
        raise EntryError(name, f"it is longer than {limit} characters; shorten it")
    if _CONTROLS.search(value) is not None:
        raise EntryError(name, "it holds control characters; remove them")
    return value


def _is_mail(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    return bool(local and at and domain) and not any(char.isspace() for char in text)


def _is_photo(photo: Photo) -> bool:
    return len(photo.hash) == 64 and not photo.hash.strip("0123456789abcdef") and photo.size >= 0


def _numbers(numbers: tuple[PhoneNumber, ...]) -> tuple[PhoneNumber, ...]:
    kept: dict[tuple[NumberKind, str], PhoneNumber] = {}
    for number in numbers:
        raw = _text("numbers", number.raw, MAX_NUMBER)
        normalised = _text("numbers", number.normalised, MAX_NUMBER)
        if normalised and _NORMALISED.fullmatch(normalised) is None:
            raise EntryError("numbers", f"{normalised!r} is no normalised number; write tel:+ and digits")
        if raw:
            kept.setdefault((number.kind, raw), replace(number, raw=raw, normalised=normalised))
    if len(kept) > MAX_NUMBERS:
        raise EntryError("numbers", f"more than {MAX_NUMBERS} numbers; remove some")
    return tuple(kept.values())


def _proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    kept = _unique(_text("proxies", proxy) for proxy in proxies)
    for proxy in kept:
        scheme, colon, rest = proxy.partition(":")
        if not colon or not rest or not scheme.isascii() or not scheme.isalnum():
            raise EntryError("proxies", f"{proxy[:80]!r} has no scheme; write smtp:name@domain or tel:+number")
    if len(kept) > MAX_PROXIES:
        raise EntryError("proxies", f"more than {MAX_PROXIES} further addresses; remove some")
    return kept


def _membership(entry: Entry) -> Membership | None:
    if entry.kind is not Kind.GROUP:
        if entry.membership is not None:
            raise EntryError("membership", "only groups have members")
        return None
    membership = entry.membership or Membership()
    members = tuple(dict.fromkeys(membership.members))
    unresolved = _unique(_text("membership", name, MAX_NAME_OF_MEMBER) for name in membership.unresolved)
    if len(members) + len(unresolved) > MAX_MEMBERS:
        raise EntryError("membership", f"more than {MAX_MEMBERS} members; nest groups instead")
    rule = _text("membership", membership.rule, MAX_RULE)
    if rule and (members or unresolved):
        raise EntryError("membership", "a group has either a rule or members; nest a group with a rule to have both")
    return Membership(members, unresolved, rule, membership.hidden)


def _origin(origin: Origin) -> Origin:
    source = _text("origin", origin.source)
    scheme, _, name = source.partition(":")
    if source not in ("local", "csv", "scim") and not (scheme == "ldap" and name):
        raise EntryError("origin", f"{source[:80]!r} is no source; it is local, csv, scim or ldap:name")
    return Origin(source, _text("origin", origin.key, MAX_NAME_OF_MEMBER), _text("origin", origin.version))


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
