"""Contact lists as files: vCard 4.0 or 3.0, which other programs read, and JSON, which keeps everything.

In a card the address is ``IMPP:sip:...`` (RFC 4770), or ``X-SIP`` as phones write it; the groups are CATEGORIES. What only
Parley needs is in X-PARLEY properties, left out where it says nothing. Readers give rows one by one, good and bad.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from parley.presence.contacts import DEFAULT_GROUP, MAX_EXTENSION, MAX_EXTERNAL_URI, MAX_NAME
from parley.presence.importing import MAX_ENTRIES, ContactEntry, GroupEntry
from parley.sip.errors import SipParseError
from parley.sip.uri import parse_uri
from parley.vcard.cards import BadCard, VCard, name_properties, parse_vcards
from parley.vcard.lines import ContentLine, escape, joined

MAX_FILE: Final = 32 * 1024 * 1024
FORMAT: Final = "parley-contacts"
VERSION: Final = 1

_SUBSCRIBED: Final = "X-PARLEY-SUBSCRIBED"
_EXTERNAL: Final = "X-PARLEY-EXTERNAL-URI"
_ADDRESSES: Final = ("IMPP", "X-SIP", "X-MS-IMADDRESS")


class ContactFileError(ValueError):
    """A file that is none of contacts; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A contact and where it stands: the line of its card, or its number in JSON; both from 1."""

    place: int
    entry: ContactEntry


@dataclass(frozen=True, slots=True)
class BadRow:
    """A contact that cannot be read."""

    place: int
    problem: str


@dataclass(slots=True)
class ContactFile:
    """All of a file."""

    unit: str = "line"
    """What places count: lines of vCard, or "contact"s of JSON."""
    rows: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    groups: list[GroupEntry] = field(default_factory=list)

    def add(self, row: Row | BadRow) -> None:
        """A further row."""
        if isinstance(row, Row):
            self.rows.append(row)
        else:
            self.bad.append(row)


# vCard


def vcard_rows(data: bytes) -> Iterator[Row | BadRow]:
    """The contacts of a file of cards; cards of groups (KIND:group) are passed over. Raises ContactFileError."""
    _check_size(data)
    count = 0
    for card in parse_vcards(data):
        count += 1
        if count > MAX_ENTRIES:
            raise ContactFileError(f"more than {MAX_ENTRIES} contacts are too many")
        if isinstance(card, BadCard):
            yield BadRow(card.line, card.problem)
        elif not _is_group(card):
            yield _row_of(card)
    if not count:
        raise ContactFileError("there is no vCard in it")


def _is_group(card: VCard) -> bool:
    return any(card.first_text(name).strip().lower() == "group" for name in ("KIND", "X-ADDRESSBOOKSERVER-KIND"))


def _row_of(card: VCard) -> Row | BadRow:
    address = _address_of(card)
    if not address:
        name = card.full_name[:MAX_NAME]
        return BadRow(card.line, f"{name or 'the card'} has no SIP address; write IMPP:sip:user@domain")
    name = " ".join(card.full_name.split())
    groups = [text.strip() for line in card.all("CATEGORIES") for text in line.texts]
    subscribed = card.first_text(_SUBSCRIBED).strip().lower()
    external = card.all(_EXTERNAL)
    entry = ContactEntry(
        address, "" if name == _shown(address) else name, tuple(dict.fromkeys(filter(None, groups))),
        subscribed == "true" if subscribed in ("true", "false") else None, external[0].text if external else None,
    )  # fmt: skip
    return Row(card.line, entry)


def _address_of(card: VCard) -> str:
    for name in _ADDRESSES:
        for line in card.all(name):
            text = line.text.strip()
            if name != "IMPP" and text[:4].lower() not in ("sip:", "tel:"):
                text = f"sip:{text}"
            if _is_sip(text) or (text[:4].lower() == "tel:" and len(text) > 4):
                return text[:4].lower() + text[4:]
    return ""


def _is_sip(text: str) -> bool:
    if text[:4].lower() != "sip:":
        return False
    try:
        return bool(parse_uri(text).user)
    except SipParseError:
        return False


def _shown(address: str) -> str:
    return address.removeprefix("sip:")


def vcards(entries: Sequence[ContactEntry], *, version: str = "4.0") -> bytes:
    """The contacts as cards; ``version``: "4.0" or "3.0"."""
    return b"".join(bytes(_card(entry, version)) for entry in entries)


def _card(entry: ContactEntry, version: str) -> VCard:
    properties = [*name_properties(version, entry.name or _shown(entry.address))]
    properties.append(ContentLine("IMPP", _uri_value(entry.address)))
    groups = () if entry.groups == (DEFAULT_GROUP,) else entry.groups
    if groups:
        properties.append(ContentLine("CATEGORIES", joined(groups)))
    if entry.subscribed is False:
        properties.append(ContentLine(_SUBSCRIBED, "false"))
    if entry.external_uri:
        properties.append(ContentLine(_EXTERNAL, escape(entry.external_uri)))
    return VCard(version, tuple(properties))


def _uri_value(address: str) -> str:
    """In URIs commas and semicolons stand as they are."""
    return escape(address).replace("\\,", ",").replace("\\;", ";")


# JSON

_Name = Annotated[str, Field(max_length=MAX_NAME)]


class _JsonModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _JsonGroup(_JsonModel):
    name: _Name
    external_uri: Annotated[str, Field(max_length=MAX_EXTERNAL_URI)] | None = None


class _JsonContact(_JsonModel):
    address: Annotated[str, Field(max_length=MAX_EXTERNAL_URI)]
    name: _Name = ""
    groups: Annotated[list[_Name], Field(max_length=MAX_NAME)] = []
    subscribed: StrictBool | None = None
    external_uri: Annotated[str, Field(max_length=MAX_EXTERNAL_URI)] | None = None
    extension: Annotated[str, Field(max_length=MAX_EXTENSION)] | None = None


def json_file(data: bytes) -> tuple[list[GroupEntry], Iterator[Row | BadRow]]:
    """Groups and contacts of a file that `to_json` wrote. Raises ContactFileError."""
    _check_size(data)
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ContactFileError("it is not UTF-8") from None
    except RecursionError:
        raise ContactFileError("it is nested too deeply") from None
    except ValueError as error:
        raise ContactFileError(f"it is no JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ContactFileError(f'it holds no contacts: "format" is not "{FORMAT}"')
    if content.get("version") != VERSION:
        raise ContactFileError(f"its version is {str(content.get('version'))[:20]}; this Parley reads {VERSION}")
    contacts, groups = content.get("contacts", []), content.get("groups", [])
    if not isinstance(contacts, list) or not isinstance(groups, list):
        raise ContactFileError('"contacts" and "groups" must be lists')
    if max(len(contacts), len(groups)) > MAX_ENTRIES:
        raise ContactFileError(f"more than {MAX_ENTRIES} contacts are too many")
    return [_group_of(group) for group in groups], (_json_row(place, item) for place, item in enumerate(contacts, 1))


def _group_of(item: Any) -> GroupEntry:
    try:
        group = _JsonGroup.model_validate(item)
    except ValueError as error:
        raise ContactFileError(f"a group cannot be read: {_reason(error)}") from None
    return GroupEntry(group.name, group.external_uri)


def _json_row(place: int, item: Any) -> Row | BadRow:
    try:
        found = _JsonContact.model_validate(item)
    except ValueError as error:
        return BadRow(place, _reason(error))
    extension = None if found.extension is None else found.extension.encode()
    return Row(
        place,
        ContactEntry(found.address, found.name, tuple(found.groups), found.subscribed, found.external_uri, extension),
    )


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:64] for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def to_json(owner: str, delta: int, groups: Sequence[GroupEntry], entries: Sequence[ContactEntry]) -> bytes:
    """Everything of a list, UTF-8; ``owner``: address of record, ``delta``: number of the list."""
    content = {
        "format": FORMAT, "version": VERSION, "owner": owner, "delta": delta,
        "groups": [_without_none(name=group.name, external_uri=group.external_uri or None) for group in groups],
        "contacts": [
            _without_none(
                address=entry.address, name=entry.name, groups=list(entry.groups), subscribed=entry.subscribed,
                external_uri=entry.external_uri or None,
                extension=entry.extension.decode() if entry.extension else None,
            )
            for entry in entries
        ],
    }  # fmt: skip
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check_size(data: bytes) -> None:
    if len(data) > MAX_FILE:
        raise ContactFileError(f"it is larger than {MAX_FILE // 1024 // 1024} MiB")
