"""Entries of the directory as resources of SCIM, and back.

A user is an entry of kind user: ``userName`` is its address, ``externalId`` the key of its origin. A group's ``members`` are
ids of entries. What SCIM has no place for is kept as it is when a resource is replaced.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.web.api.conversions import id_text
from services.web.errors import HttpError
from services.web.scim.filters import SURROGATE, Resource, values_at

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
SOURCE: Final = "scim"
_NUMBERS: Final = {
    "work": pb.PHONE_NUMBER_KIND_WORK, "mobile": pb.PHONE_NUMBER_KIND_MOBILE, "home": pb.PHONE_NUMBER_KIND_HOME,
    "other": pb.PHONE_NUMBER_KIND_OTHER,
}  # fmt: skip
_OTHER: Final = "other"
_NUMBER_NAMES: Final = {value: name for name, value in _NUMBERS.items()}
_MAX_ITEMS: Final = 20_000


def resource_of(entry: pb.Entry, base: str) -> Resource:
    """The resource of a user or a group. ``base``: URL of the SCIM endpoint."""
    is_group = entry.kind == pb.ENTRY_KIND_GROUP
    kind = "Group" if is_group else "User"
    id = id_text(entry.id)
    resource: Resource = {
        "schemas": [GROUP] if is_group else [USER, ENTERPRISE], "id": id,
        "meta": {"resourceType": kind, "location": f"{base}/{kind}s/{id}", "version": f'W/"{entry.version}"'},
    }  # fmt: skip
    if entry.origin.key and entry.origin.source == SOURCE:
        resource["externalId"] = entry.origin.key
    resource["displayName"] = entry.display_name
    if is_group:
        resource["members"] = [{"value": id_text(member)} for member in entry.membership.members]
        return resource
    name = {"givenName": entry.given_name, "familyName": entry.surname, "formatted": entry.display_name}
    resource |= {
        "userName": entry.address.removeprefix("sip:"), "active": not entry.disabled,
        "name": {key: value for key, value in name.items() if value}, "nickName": entry.mail_nickname, "title": entry.title,
        "emails": [{"value": entry.mail, "type": "work", "primary": True}] if entry.mail else [],
        "phoneNumbers": [
            {"value": number.raw, "type": _NUMBER_NAMES.get(number.kind, _OTHER)} for number in entry.numbers
        ],
        "addresses": [_address(entry)] if entry.city or entry.state or entry.country else [],
        ENTERPRISE: {key: value for key, value in _enterprise(entry).items() if value},
    }  # fmt: skip
    return {key: value for key, value in resource.items() if value not in ("", [], {})}


def _address(entry: pb.Entry) -> dict[str, str]:
    return {"type": "work", "locality": entry.city, "region": entry.state, "country": entry.country}


def _enterprise(entry: pb.Entry) -> dict[str, str]:
    return {"department": entry.department, "organization": entry.company}


def entry_of_resource(resource: Resource, kind: pb.EntryKind.ValueType, before: pb.Entry | None) -> pb.Entry:
    """What a resource makes of an entry. ``before``: as it is; None for a new one. Raises HttpError 400."""
    entry = pb.Entry()
    if before is not None:
        entry.CopyFrom(before)
    entry.kind = kind
    if before is None:
        entry.origin.source = SOURCE
    if entry.origin.source == SOURCE:
        entry.origin.key = _text(resource, "externalId")
    entry.display_name = _text(resource, "displayName")
    if kind == pb.ENTRY_KIND_GROUP:
        if not entry.display_name:
            raise _invalid("displayName is missing")
        del entry.membership.members[:]
        entry.membership.members.extend(_members(resource))
        entry.membership.SetInParent()
        return entry
    _set_user(entry, resource)
    return entry


def _set_user(entry: pb.Entry, resource: Resource) -> None:
    name = _text(resource, "userName")
    name = name[4:] if name[:4].lower() == "sip:" else name
    if "@" not in name or ":" in name:
        raise _invalid("userName has to be an address, user@domain")
    entry.address = f"sip:{name}"
    active = next(iter(values_at(resource, "active")), True)
    if isinstance(active, str) and active.lower() in ("true", "false"):  # as some providers write it
        active = active.lower() == "true"
    if not isinstance(active, bool):
        raise _invalid("active has to be true or false")
    entry.disabled = not active
    entry.display_name = entry.display_name or _text(resource, "name.formatted")
    entry.given_name, entry.surname = _text(resource, "name.givenName"), _text(resource, "name.familyName")
    entry.display_name = entry.display_name or f"{entry.given_name} {entry.surname}".strip()
    entry.mail_nickname, entry.title = _text(resource, "nickName"), _text(resource, "title")
    entry.mail = _preferred(resource, "emails", "value")
    entry.city, entry.state, entry.country = (
        _preferred(resource, "addresses", sub) for sub in ("locality", "region", "country")
    )
    entry.department = _text(resource, f"{ENTERPRISE}:department")
    entry.company = _text(resource, f"{ENTERPRISE}:organization")
    numbers = _numbers(entry, resource)
    del entry.numbers[:]
    entry.numbers.extend(numbers)


def _numbers(entry: pb.Entry, resource: Resource) -> list[pb.PhoneNumber]:
    """Those of a resource; one that is told as before stays as it was, also if SCIM has no name for its kind."""
    known: dict[tuple[str, str], list[pb.PhoneNumber]] = {}
    for number in entry.numbers:
        known.setdefault((_NUMBER_NAMES.get(number.kind, _OTHER), number.raw), []).append(number)
    numbers = []
    for item in _objects(resource, "phoneNumbers"):
        name = str(item.get("type", "work")).lower()
        name = name if name in _NUMBERS else _OTHER
        raw = _as_text("phoneNumbers", item.get("value", ""))
        same = known.get((name, raw))
        if raw:
            numbers.append(same.pop(0) if same else pb.PhoneNumber(kind=_NUMBERS[name], raw=raw))
    return numbers


def _members(resource: Resource) -> list[bytes]:
    found: dict[bytes, None] = {}
    for item in _objects(resource, "members"):
        try:
            found[UUID(str(item.get("value"))).bytes] = None
        except ValueError:
            raise _invalid("members: a value is the id of a user or a group") from None
    return list(found)


def _objects(resource: Resource, name: str) -> list[dict[str, Any]]:
    items = values_at(resource, name)
    if len(items) > _MAX_ITEMS or not all(isinstance(item, dict) for item in items):
        raise _invalid(f"{name} has to be a list of objects")
    return items


def _preferred(resource: Resource, name: str, sub: str) -> str:
    """Of the primary item, else the first of type work, else the first."""
    items = _objects(resource, name)
    items = sorted(items, key=lambda item: (item.get("primary") is not True, str(item.get("type", "")).lower() != "work"))
    return _as_text(name, items[0].get(sub, "")) if items else ""


def _text(resource: Resource, path: str) -> str:
    return _as_text(path, next(iter(values_at(resource, path)), ""))


def _as_text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 1024 or SURROGATE.search(value) is not None:
        raise _invalid(f"{name.rpartition(':')[2]} has to be a text of at most 1024 characters")
    return value.strip()


def _invalid(text: str) -> HttpError:
    return HttpError(400, text, kind="invalidValue")
