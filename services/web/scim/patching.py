"""PATCH of SCIM (RFC 7644 section 3.5.2): add, replace, remove; of attributes, sub-attributes, and items by a filter."""

from __future__ import annotations

import copy
import json
import re
from typing import Any, Final

from services.web.errors import HttpError
from services.web.scim.filters import Filter, Resource, parse_filter
from services.web.scim.resources import ENTERPRISE

MESSAGE: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_MAX_OPERATIONS: Final = 1_000
_PATH: Final = re.compile(
    r"(?P<urn>[Uu][Rr][Nn]:[A-Za-z0-9:._-]+:)?(?P<name>[A-Za-z$][\w$-]*)(?:\[(?P<filter>.+)\])?(?:\.(?P<sub>[A-Za-z$][\w$-]*))?"
)
_EXTENSION: Final = ENTERPRISE.lower()
_LISTS: Final = frozenset({"emails", "phonenumbers", "addresses", "members", "photos"})


def patched(resource: Resource, body: Any) -> Resource:
    """The resource with all operations done. Raises HttpError 400."""
    operations = _member(body, "operations") if isinstance(body, dict) else None
    if not isinstance(operations, list) or not operations or len(operations) > _MAX_OPERATIONS:
        raise HttpError(400, f"Operations has to be a list of 1 to {_MAX_OPERATIONS}", kind="invalidSyntax")
    changed = copy.deepcopy(resource)
    for operation in operations:
        _apply(changed, operation)
    return changed


def _member(value: dict[str, Any], name: str) -> Any:
    return next((item for key, item in value.items() if key.lower() == name), None)


def _apply(resource: Resource, operation: Any) -> None:
    if not isinstance(operation, dict):
        raise HttpError(400, "an operation is an object", kind="invalidSyntax")
    kind = str(_member(operation, "op") or "").lower()
    path, value = _member(operation, "path"), _member(operation, "value")
    if kind not in ("add", "replace", "remove"):
        raise HttpError(400, "op has to be add, replace or remove", kind="invalidSyntax")
    if path is None or path == "":
        if kind == "remove":
            raise HttpError(400, "remove needs a path", kind="noTarget")
        if not isinstance(value, dict):
            raise HttpError(400, "without a path the value has to be an object", kind="invalidValue")
        for name, item in value.items():
            _at(resource, name, kind, item)
    elif isinstance(path, str) and len(path) <= 512:
        _at(resource, path, kind, value)
    else:
        raise HttpError(400, "a path is a text", kind="invalidPath")


def _at(resource: Resource, path: str, kind: str, value: Any) -> None:
    if path.lower() == _EXTENSION:  # whole
        _extension(resource, kind, value)
        return
    found = _PATH.fullmatch(path)
    if found is None:
        raise HttpError(400, f"{path[:60]!r} is no path", kind="invalidPath")
    target = resource
    if found["urn"] is not None and ":extension:" in found["urn"].lower():
        target = resource.setdefault(_key(resource, found["urn"][:-1]), {})
    name = _key(target, found["name"])
    if found["filter"] is not None:
        _items(target, name, parse_filter(found["filter"]), found["sub"], kind, value)
    elif found["sub"] is not None:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            raise HttpError(400, f"{name} has several values; choose some by a filter", kind="invalidPath")
        _set(inner, found["sub"], kind, value)
    else:
        _set(target, name, kind, value)


def _extension(resource: Resource, kind: str, value: Any) -> None:
    """Changes what an extension holds, by the names in a value."""
    if kind == "remove":
        resource.pop(_key(resource, ENTERPRISE), None)
        return
    if not isinstance(value, dict):
        raise HttpError(400, "the value of an extension has to be an object", kind="invalidValue")
    for name, item in value.items():
        _at(resource, f"{ENTERPRISE}:{name}", kind, item)


def _key(target: dict[str, Any], name: str) -> str:
    """A name as it is written there."""
    return next((key for key in target if key.lower() == name.lower()), name)


def _set(target: dict[str, Any], name: str, kind: str, value: Any) -> None:
    name = _key(target, name)
    present = target.get(name)
    if kind == "remove":
        if value is not None and isinstance(present, list):  # as some clients send it: the items that are to go
            gone = _ids(value)
            target[name] = [item for item in present if not (isinstance(item, dict) and item.get("value") in gone)]
        else:
            target.pop(name, None)
    elif kind == "add" and (isinstance(present, list) or name.lower() in _LISTS):
        present = present if isinstance(present, list) else []
        added = value if isinstance(value, list) else [value]
        known = {_form(item) for item in present}  # a group has thousands of members
        target[name] = present + [item for item in added if _form(item) not in known]
    elif isinstance(present, dict) and isinstance(value, dict):
        for key, item in value.items():
            _set(present, key, kind, item)
    else:
        target[name] = value


def _form(item: Any) -> str:
    """What equal items have in common."""
    return json.dumps(item, sort_keys=True)


def _ids(value: Any) -> set[str]:
    items = value if isinstance(value, list) else [value]
    return {str(item.get("value")) for item in items if isinstance(item, dict)}


def _items(target: dict[str, Any], name: str, wanted: Filter, sub: str | None, kind: str, value: Any) -> None:
    """Changes the items of a multi-valued attribute that a filter chooses."""
    present = target.get(name)
    items = present if isinstance(present, list) else []
    chosen = [item for item in items if isinstance(item, dict) and wanted.matches(item)]
    if kind == "remove":
        if sub is None:
            gone = set(map(id, chosen))
            target[name] = [item for item in items if id(item) not in gone]
        for item in chosen if sub is not None else ():
            item.pop(sub, None)
        return
    if not chosen:
        # As with ``phoneNumbers[type eq "mobile"].value``: there is none yet, so it is made.
        if wanted.exact is None or "." in wanted.exact[0]:
            raise HttpError(400, "the filter of the path chooses nothing", kind="noTarget")
        chosen = [{wanted.exact[0]: wanted.exact[1]}]
        target[name] = [*items, *chosen]
    for item in chosen:
        if sub is not None:
            item[sub] = value
        elif isinstance(value, dict):
            item.update(value)
        else:
            raise HttpError(400, "the value has to be an object", kind="invalidValue")
