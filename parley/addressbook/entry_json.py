"""Entries as JSON, as they are kept in Redis and written to files. The number of the form stands in it under "v".

What is empty is left out. A form later than ours is refused, so that an older server does not drop what it does not know.
"""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

from parley.addressbook.entries import TEXT_FIELDS, Entry, Kind, Membership, NumberKind, Origin, PhoneNumber, Photo, checked
from parley.addressbook.errors import EntryError

FORM: Final = 1
MAX_BYTES: Final = 16 * 1024 * 1024
_FOR_VERSION: Final = 64
"""Bytes of it that are left to the version, which is kept apart."""

_KNOWN: Final = frozenset(
    {*TEXT_FIELDS, "v", "id", "kind", "numbers", "proxies", "photo", "hidden", "disabled", "membership", "origin", "version"}
)


def to_json(entry: Entry) -> bytes:
    """The entry in the latest form, in UTF-8 on one line. Raises EntryError for one that is too large to be read again."""
    content: dict[str, Any] = {"v": FORM, "id": str(entry.id), "kind": entry.kind.value}
    content |= {name: value for name in TEXT_FIELDS if (value := getattr(entry, name))}
    if entry.numbers:
        content["numbers"] = [_number(number) for number in entry.numbers]
    if entry.proxies:
        content["proxies"] = entry.proxies
    if entry.photo is not None:
        content["photo"] = [entry.photo.hash, entry.photo.size]
    if entry.hidden:
        content["hidden"] = True
    if not entry.enabled:
        content["disabled"] = True
    if entry.membership is not None:
        content["membership"] = _membership(entry.membership)
    if entry.origin != Origin():
        content["origin"] = [entry.origin.source, entry.origin.key, entry.origin.version]
    if entry.version:
        content["version"] = entry.version
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    if len(data) > MAX_BYTES - _FOR_VERSION:
        raise EntryError("", f"its {len(data)} bytes are more than an entry may have; nest groups instead of long lists")
    return data


def _number(number: PhoneNumber) -> list[str]:
    return [number.kind.value, number.raw, number.normalised] if number.normalised else [number.kind.value, number.raw]


def _membership(membership: Membership) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if membership.members:
        content["members"] = [member.hex for member in membership.members]
    if membership.unresolved:
        content["unresolved"] = membership.unresolved
    if membership.rule:
        content["rule"] = membership.rule
    if membership.hidden:
        content["hidden"] = True
    return content


def from_json(data: bytes) -> Entry:
    """The entry. Raises EntryError for what is none, is too large or was written in a later form."""
    if len(data) > MAX_BYTES:
        raise EntryError("", f"more than {MAX_BYTES} bytes are no entry")
    return checked(as_written(data))


def as_written(data: bytes) -> Entry:
    """The entry as it was written, whether it may be kept or not. Raises EntryError for what is none, or of a later form.

    What is removed or replaced has to be known as it is, above all what it is found by.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise EntryError("", "this is no JSON") from None
    if not isinstance(content, dict):
        raise EntryError("", "this is no entry; an entry is an object")
    form = content.get("v")
    if type(form) is not int or form < 1:
        raise EntryError("v", "the number of the form is missing")
    if form > FORM:
        raise EntryError("v", f"it was written in form {form}, by a later version; upgrade this server first")
    unknown = content.keys() - _KNOWN
    if unknown:
        raise EntryError(min(unknown), "there is no such field")
    return _entry(content)


def _entry(content: dict[str, Any]) -> Entry:
    texts = {name: _typed(content, name, str, "") for name in TEXT_FIELDS}
    membership = content.get("membership")
    return Entry(
        id=_uuid("id", content.get("id")), kind=_kind(content.get("kind")),
        numbers=tuple(_parse_number(item) for item in _list(content, "numbers")),
        proxies=_strings("proxies", _list(content, "proxies")), photo=_photo(content.get("photo")),
        hidden=_typed(content, "hidden", bool, False), enabled=not _typed(content, "disabled", bool, False),
        membership=None if membership is None else _parse_membership(membership),
        origin=_parse_origin(content.get("origin")), version=_typed(content, "version", int, 0), **texts,
    )  # fmt: skip


def _typed(content: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value: Any = content.get(name, default)
    if type(value) is not kind:
        raise EntryError(name, f"it has to be a {kind.__name__}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise EntryError(name, "the number is out of range")
    return value


def _list(content: dict[str, Any], name: str) -> list[Any]:
    found: list[Any] = _typed(content, name, list, [])
    return found


def _strings(name: str, values: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise EntryError(name, "it has to be a list of texts")
    return tuple(values)


def _uuid(name: str, value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise EntryError(name, "it has to be a UUID") from None


def _kind(value: Any) -> Kind:
    try:
        return Kind(value)
    except ValueError:
        raise EntryError("kind", f"it has to be one of {', '.join(Kind)}") from None


def _parse_number(item: Any) -> PhoneNumber:
    if not isinstance(item, list) or len(item) not in (2, 3):
        raise EntryError("numbers", "a number has to be [kind, number] or [kind, number, tel:+...]")
    kind, *texts = _strings("numbers", item)
    try:
        return PhoneNumber(NumberKind(kind), *texts)
    except ValueError:
        raise EntryError("numbers", f"a number is one of {', '.join(NumberKind)}") from None


def _photo(value: Any) -> Photo | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str) or type(value[1]) is not int:
        raise EntryError("photo", "it has to be [hash, size]")
    return Photo(*value)


def _parse_membership(value: Any) -> Membership:
    if not isinstance(value, dict) or value.keys() - {"members", "unresolved", "rule", "hidden"}:
        raise EntryError("membership", "it has to be an object with members, unresolved, rule and hidden")
    return Membership(
        tuple(_uuid("membership", member) for member in _list(value, "members")),
        _strings("membership", _list(value, "unresolved")), _typed(value, "rule", str, ""),
        _typed(value, "hidden", bool, False),
    )  # fmt: skip


def _parse_origin(value: Any) -> Origin:
    if value is None:
        return Origin()
    if not isinstance(value, list) or len(value) != 3:
        raise EntryError("origin", "it has to be [source, key, version]")
    return Origin(*_strings("origin", value))
