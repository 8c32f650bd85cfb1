"""Rules of device updates as JSON, as they are kept. The number of the form stands in it under "v"."""

from __future__ import annotations

import json
from typing import Any, Final

from parley.addressbook.devices import MAX_MODULES, MAX_TEXT, MAX_WITHDRAWN, Module, Update, UpdateRule
from parley.addressbook.errors import DeviceError

FORM: Final = 1
MAX_BYTES: Final = 262_144
_TEXTS: Final = ("id", "type", "vendor", "model", "revision", "locale")
_UPDATES: Final = ("pending", "approved", "previous")
_MODULE: Final = ("file", "version", "timestamp", "signature", "size", "sha256")


def rule_to_json(rule: UpdateRule) -> bytes:
    """The rule on one line, in UTF-8; what is empty is left out. Raises DeviceError for a rule that is too large."""
    content: dict[str, Any] = {"v": FORM} | {name: text for name in _TEXTS if (text := getattr(rule, name))}
    for name in _UPDATES:
        update: Update | None = getattr(rule, name)
        if update is not None:
            modules = [[getattr(module, field) for field in _MODULE] for module in update.modules]
            content[name] = {"version": update.version, "modules": modules}
    if rule.withdrawn:
        content["withdrawn"] = rule.withdrawn
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    if len(data) > MAX_BYTES:  # else it could not be read again
        raise DeviceError(
            f"the rule would have {len(data)} bytes, and may have {MAX_BYTES}; upload fewer modules, or shorter names"
        )
    return data


def rule_from_json(data: bytes) -> UpdateRule:
    """Raises DeviceError for what is no rule, or was written in a later form."""
    try:
        content = json.loads(data) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or type(content.get("v")) is not int:
        raise DeviceError("this is no rule of device updates")
    if content["v"] != FORM:
        raise DeviceError(f"the rule was written in form {content['v']}, by another version; upgrade this server first")
    if content.keys() - {"v", "withdrawn", *_TEXTS, *_UPDATES}:
        raise DeviceError("the rule has fields that are not known")
    texts: dict[str, Any] = {name: _text(content.get(name, ""), name) for name in _TEXTS}
    if not texts["id"]:
        raise DeviceError("the rule has no id")
    updates: dict[str, Any] = {name: _update(content[name], name) for name in _UPDATES if name in content}
    withdrawn = content.get("withdrawn", [])
    if not isinstance(withdrawn, list) or len(withdrawn) > MAX_WITHDRAWN:
        raise DeviceError("withdrawn has to be a list of versions")
    return UpdateRule(**texts, **updates, withdrawn=tuple(_text(version, "withdrawn") for version in withdrawn))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise DeviceError(f"{name} has to be a text of at most {MAX_TEXT} characters")
    return value


def _update(value: Any, name: str) -> Update:
    modules = value.get("modules") if isinstance(value, dict) else None
    if not isinstance(modules, list) or len(modules) > MAX_MODULES or value.keys() != {"version", "modules"}:
        raise DeviceError(f"{name} has to be an object with version and modules")
    return Update(_text(value["version"], name), tuple(_module(item, name) for item in modules))


def _module(item: Any, name: str) -> Module:
    if not isinstance(item, list) or len(item) != len(_MODULE):
        raise DeviceError(f"a module of {name} has to be [{', '.join(_MODULE)}]")
    fields: dict[str, Any] = dict(zip(_MODULE, item, strict=True))
    if type(fields["size"]) is not int or not 0 <= fields["size"] < 2**63:
        raise DeviceError(f"the size of a module of {name} has to be a number")
    for field, value in fields.items():
        if field != "size":
            _text(value, f"the {field} of a module of {name}")
    return Module(**fields)
