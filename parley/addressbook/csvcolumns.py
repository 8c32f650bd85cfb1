"""Columns of CSV files: what their headers may be called, and what their cells mean for an entry.

A cell with several values parts them by ``|`` or line breaks, lists of members and groups also by ``;``; before one of those
a backslash makes it a part of the value. A cell that a spreadsheet would take for a formula is written with an apostrophe
before it, which is dropped when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from parley.addressbook.attributes import ATTRIBUTES
from parley.addressbook.entries import (
    TEXT_FIELDS,
    Entry,
    Kind,
    Membership,
    NumberKind,
    Origin,
    PhoneNumber,
    checked,
    uuid_of_name,
)
from parley.addressbook.errors import EntryError
from parley.addressbook.searching.folding import fold

NUMBERS: Final = MappingProxyType(
    {
        "telephone": NumberKind.WORK, "mobile": NumberKind.MOBILE, "home_phone": NumberKind.HOME,
        "other_phone": NumberKind.OTHER, "ip_phone": NumberKind.IP_PHONE,
    }
)  # fmt: skip
COLUMNS: Final = (
    "id", "kind", *TEXT_FIELDS, *NUMBERS, "proxies", "hidden", "enabled", "members", "rule", "members_hidden", "member_of",
    "password",
)  # fmt: skip
"""All columns by our names, in the order in which they are written."""
EXPORTED: Final = tuple(name for name in COLUMNS if name not in ("member_of", "password"))

_SYNONYMS: Final = {
    "id": ("objectguid", "entryuuid", "guid", "uuid"),
    "kind": ("type", "objectclass"),
    "display_name": ("full name", "anzeigename", "nom complet"),
    "given_name": ("first", "forename", "vorname", "prénom"),
    "surname": ("last", "family name", "familienname", "nachname", "nom"),
    "address": ("sip address", "sip uri", "im address", "user"),
    "mail": ("e-mail", "e-mail address", "mail address", "primary smtp address"),
    "mail_nickname": ("nickname", "spitzname"),
    "title": ("position", "role", "funktion"),
    "department": ("dept", "abteilung", "service", "division"),
    "company": ("firma", "société", "organisation"),
    "office": ("room", "office location", "büro", "raum"),
    "city": ("town", "locality", "ort", "stadt", "ville"),
    "state": ("state or province", "province", "region", "bundesland"),
    "country": ("country or region", "land", "pays"),
    "manager": ("supervisor", "vorgesetzter"),
    "telephone": ("phone number", "telephone number", "business phone", "office phone", "telefon", "téléphone", "tel"),
    "mobile": ("mobile number", "cell phone", "handy", "portable", "mobiltelefon"),
    "home_phone": ("home", "private phone", "telefon privat"),
    "other_phone": ("other", "other telephone"),
    "ip_phone": ("voip",),
    "proxies": ("aliases", "e-mail addresses"),
    "hidden": ("msexchhidefromaddresslists", "hidden from address lists", "hide"),
    "enabled": ("msrtcsip-userenabled", "active"),
    "members": ("member", "mitglieder"),
    "rule": ("recipient filter", "membership rule"),
    "members_hidden": ("hide dl membership",),
    "member_of": ("groups", "group", "gruppen"),
    "password": ("passwort", "initial password"),
}  # fmt: skip
_ATTRIBUTES: Final = {
    "displayName": "display_name", "givenName": "given_name", "sn": "surname", "mail": "mail",
    "mailNickname": "mail_nickname", "msRTCSIP-PrimaryUserAddress": "address", "title": "title", "department": "department",
    "company": "company", "physicalDeliveryOfficeName": "office", "l": "city", "st": "state", "c": "country",
    "manager": "manager", "telephoneNumber": "telephone", "mobile": "mobile", "otherMobile": "mobile",
    "homePhone": "home_phone", "otherHomePhone": "home_phone", "otherTelephone": "other_phone", "ipPhone": "ip_phone",
    "proxyAddresses": "proxies", "kind": "kind",
}  # fmt: skip
"""Columns by the name of an attribute; headers may be all names of it."""
SEVERAL: Final = frozenset({*NUMBERS, "proxies", "members", "member_of"})
"""Columns of which there may be several; their headers may end with a number."""

_TRUE: Final = frozenset({"true", "yes", "1", "y", "on", "wahr", "ja", "oui", "vrai"})
_FALSE: Final = frozenset({"false", "no", "0", "n", "off", "falsch", "nein", "non", "faux"})
_KINDS: Final = {
    "user": Kind.USER, "person": Kind.USER, "contact": Kind.CONTACT, "group": Kind.GROUP, "distributionlist": Kind.GROUP,
}  # fmt: skip
_UUID: Final = re.compile(r"\{?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}?")
_FORMULA: Final = re.compile(r"'*[=@+\-\t\r]")
_GUARDED: Final = re.compile(r"'+[=@+\-\t\r]")
_HARMLESS: Final = re.compile(r"[+-]?[0-9][0-9 ()/.;|+-]*(?:ext?[=. ]*[0-9]+)?")


def _key(header: str) -> str:
    return "".join(filter(str.isalnum, fold(header)))


def _by_key() -> dict[str, str]:
    known = [item for item in ATTRIBUTES if item.name in _ATTRIBUTES]
    found = {_key(name): _ATTRIBUTES[item.name] for item in known for name in (item.name, *item.others)}
    return found | {_key(name): column for column, names in _SYNONYMS.items() for name in (column, *names)}


_BY_KEY: Final = MappingProxyType(_by_key())


def column_of(header: str) -> str | None:
    """The column that a header means, whatever its case, blanks and signs; None for one that is not known."""
    known = _BY_KEY.get(_key(header))
    if known is None:
        numbered = _BY_KEY.get(_key(header.rstrip("0123456789")))
        return numbered if numbered in SEVERAL else None
    return known


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a row."""

    column: str
    """Our name of the column; "" for the whole row."""
    text: str
    """What is wrong and what to do."""


class RowError(ValueError):
    """A row that cannot be an entry."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.text for problem in problems))
        self.problems = problems


def split_cell(text: str, separators: str) -> list[str]:
    """The values of a cell."""
    found: list[str] = []
    current: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and text[at + 1 : at + 2] in ("\\", *separators):
            at += 1
            current.append(text[at : at + 1])
        elif char in separators or char in "\r\n":
            found.append("".join(current))
            current.clear()
        else:
            current.append(char)
        at += 1
    found.append("".join(current))
    return [value.strip() for value in found if value.strip()]


def join_cell(values: list[str], separators: str) -> str:
    """Values as a cell."""
    table = str.maketrans({char: f"\\{char}" for char in ("\\", *separators)})
    return "|".join(value.translate(table) for value in values)


def guarded(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) is not None and _HARMLESS.fullmatch(text) is None else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text[1:] if _GUARDED.match(text) is not None else text


def entry_of(cells: dict[str, list[str]]) -> tuple[Entry, list[str], str]:
    """The entry of a row, the groups it is to be in, and its password. ``cells``: by column. Raises RowError."""
    values = {name: next((text for text in texts if text), "") for name, texts in cells.items()}
    problems: list[Problem] = []

    def flag(name: str, usual: bool) -> bool:
        text = values.get(name, "").strip().lower()
        if text and text not in _TRUE and text not in _FALSE:
            problems.append(Problem(name, f"{text[:20]!r} is neither yes nor no; write true or false"))
        return usual if not text else text in _TRUE

    def several(name: str, separators: str) -> list[str]:
        return [value for text in cells.get(name, []) for value in split_cell(text, separators)]

    hidden, enabled, members_hidden = flag("hidden", False), flag("enabled", True), flag("members_hidden", False)
    members, rule = several("members", "|;"), values.get("rule", "").strip()
    kind = _kind(values, bool(members or rule), problems)
    fields: dict[str, Any] = {name: values.get(name, "") for name in TEXT_FIELDS}
    numbers = [PhoneNumber(which, text) for name, which in NUMBERS.items() for text in several(name, "|")]
    id = _id(values.get("id", "").strip(), problems)
    try:
        membership = _membership(members, rule, members_hidden) if kind is Kind.GROUP else None
        entry = checked(
            Entry(
                id=id or UUID(int=0), kind=kind, numbers=tuple(numbers), proxies=tuple(several("proxies", "|")),
                hidden=hidden, enabled=enabled, membership=membership, **fields,
            )
        )  # fmt: skip
    except EntryError as error:
        problems.append(Problem(error.field, error.problem))
    if problems:
        raise RowError(problems)
    key = entry.address_text or entry.mail or entry.name
    entry = replace(entry, id=id or uuid_of_name(kind, key), origin=Origin("csv", key))
    return entry, several("member_of", "|;"), values.get("password", "")


def _kind(values: dict[str, str], has_members: bool, problems: list[Problem]) -> Kind:
    text = values.get("kind", "").strip()
    if not text:
        return Kind.GROUP if has_members else Kind.USER if values.get("address", "").strip() else Kind.CONTACT
    kind = _KINDS.get(_key(text))
    if kind is None:
        problems.append(Problem("kind", f"{text[:20]!r} is no kind of entry; write {', '.join(Kind)}"))
        return Kind.CONTACT
    if has_members and kind is not Kind.GROUP:
        problems.append(Problem("members", "only groups have members; leave it empty, or make it a group"))
    return kind


def _id(text: str, problems: list[Problem]) -> UUID | None:
    found = _UUID.fullmatch(text)
    if text and found is None:
        problems.append(Problem("id", f"{text[:40]!r} is no UUID; write one, or leave it empty"))
    return UUID(found[1]) if found is not None else None


def _membership(members: list[str], rule: str, hidden: bool) -> Membership:
    ids = [UUID(found[1]) for name in members if (found := _UUID.fullmatch(name)) is not None]
    return Membership(tuple(ids), tuple(name for name in members if _UUID.fullmatch(name) is None), rule, hidden)


def cells_of(entry: Entry, name_of: Callable[[UUID], str] = str) -> dict[str, str]:
    """The cells of an entry, by column. ``name_of``: what to call a member, by UUID."""
    cells = {name: getattr(entry, name) for name in TEXT_FIELDS}
    for name, which in NUMBERS.items():
        cells[name] = join_cell([number.raw for number in entry.numbers_of(which)], "|")
    membership = entry.membership or Membership()
    cells |= {
        "id": str(entry.id), "kind": entry.kind.value, "proxies": join_cell(list(entry.proxies), "|"),
        "hidden": "true" if entry.hidden else "", "enabled": "" if entry.enabled else "false", "rule": membership.rule,
        "members": join_cell([*map(name_of, membership.members), *membership.unresolved], "|;"),
        "members_hidden": "true" if membership.hidden else "",
    }  # fmt: skip
    return cells
