"""Attributes of the directory by the names of Active Directory (web-services sheet, sections 2.2, 2.4 and 9.1).

One table says what each name stands for in an `Entry`. Everybody who speaks of attributes by name uses it: queries, rules
of dynamic groups, CSV files, mappings of LDAP. Names are compared without case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from parley.addressbook.entries import Entry, NumberKind, PhoneNumber

PHOTO_FOLDER: Final = "photos"


@dataclass(frozen=True, slots=True)
class Attribute:
    """What a name stands for."""

    name: str
    values: Callable[[Entry], list[str]]
    """Those that an entry has; [] for none. Of a number, as it is written, and what it is normalised to."""
    others: tuple[str, ...] = ()
    """Further names of the same."""
    several: bool = False
    """Whether answers write it as a list."""
    numbers: Callable[[Entry], list[PhoneNumber]] | None = None
    """Of an attribute that holds numbers: those of an entry."""


def _field(name: str, field: str, *others: str) -> Attribute:
    def values(entry: Entry) -> list[str]:
        value: str = getattr(entry, field)
        return [value] if value else []

    return Attribute(name, values, others)


def _numbers(name: str, numbers: Callable[[Entry], list[PhoneNumber]], *others: str) -> Attribute:
    def values(entry: Entry) -> list[str]:
        return [text for number in numbers(entry) for text in (number.raw, number.normalised) if text]

    return Attribute(name, values, others, several=True, numbers=numbers)


def _first(kind: NumberKind) -> Callable[[Entry], list[PhoneNumber]]:
    return lambda entry: entry.numbers_of(kind)[:1]


def _further(kind: NumberKind) -> Callable[[Entry], list[PhoneNumber]]:
    return lambda entry: entry.numbers_of(kind)[1:]


def _other_numbers(entry: Entry) -> list[PhoneNumber]:
    """Those that are of no kind, and what there is beside the preferred one of those that have no attribute for more."""
    kinds = (NumberKind.WORK, NumberKind.IP_PHONE)
    return entry.numbers_of(NumberKind.OTHER) + [number for kind in kinds for number in entry.numbers_of(kind)[1:]]


def photo_path(entry: Entry) -> str:
    """Where the picture is found below the URL of the address book; "" for none. Its hash tells clients of another one."""
    return f"{PHOTO_FOLDER}/{entry.id}.jpg" if entry.photo is not None else ""


ATTRIBUTES: Final = (
    _field("displayName", "display_name", "cn", "name"),
    _field("givenName", "given_name", "firstName"),
    _field("sn", "surname", "surname", "lastName"),
    _field("mail", "mail", "email"),
    _field("mailNickname", "mail_nickname", "alias"),
    _field("msRTCSIP-PrimaryUserAddress", "address", "sip", "address", "sipAddress", "uri"),
    _field("title", "title", "jobTitle"),
    _field("department", "department", "ou"),
    _field("company", "company", "o", "organization"),
    _field("physicalDeliveryOfficeName", "office", "office"),
    _field("l", "city", "city", "localityName"),
    _field("st", "state", "state"),
    _field("c", "country", "country", "co"),
    _field("manager", "manager"),
    Attribute("proxyAddresses", lambda entry: list(entry.proxies), several=True),
    _numbers("telephoneNumber", _first(NumberKind.WORK), "phone", "workPhone"),
    _numbers("mobile", _first(NumberKind.MOBILE), "mobilePhone", "cell"),
    _numbers("homePhone", _first(NumberKind.HOME)),
    _numbers("otherTelephone", _other_numbers, "otherPhone"),
    _numbers("otherMobile", _further(NumberKind.MOBILE)),
    _numbers("otherHomePhone", _further(NumberKind.HOME)),
    _numbers("ipPhone", _first(NumberKind.IP_PHONE)),
    Attribute("kind", lambda entry: [entry.kind.value], ("objectKind", "type")),
    Attribute("source", lambda entry: [entry.origin.source]),
    Attribute("photoRelPath", lambda entry: list(filter(None, [photo_path(entry)]))),
    Attribute("photoSize", lambda entry: [str(entry.photo.size)] if entry.photo is not None else []),
    Attribute("photoHash", lambda entry: [entry.photo.hash] if entry.photo is not None else []),
)

_BY_NAME: Final = MappingProxyType(
    {name.lower(): attribute for attribute in ATTRIBUTES for name in (attribute.name, *attribute.others)}
)


def attribute(name: str) -> Attribute | None:
    """What a name stands for; None for nothing that is known."""
    return _BY_NAME.get(name.strip().lower())


def values(entry: Entry, name: str) -> list[str]:
    """The values of an attribute; [] when the entry has none, or nothing has that name."""
    known = attribute(name)
    return known.values(entry) if known is not None else []
