"""Writes what follows from the values of the chart: charts/parley/values.schema.json and docs/values.md.

    tools/write_values_reference.py [--check]

A key of values.yaml is explained by the comment above it. A line ``# @schema {...}`` in that comment adds to what its value
says of its type; ``each`` stands for the schema of every value of a mapping. An object takes the keys that values.yaml has
and no others, so that a typing error is refused. The keys of `config` are those of Parley's own configuration.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from parley.platform.installed import config_models

ROOT: Final = Path(__file__).resolve().parent.parent
VALUES: Final = ROOT / "charts" / "parley" / "values.yaml"
SCHEMA: Final = ROOT / "charts" / "parley" / "values.schema.json"
REFERENCE: Final = ROOT / "docs" / "values.md"

HEAD: Final = """# Values of the chart

What `helm install` may be given, with `-f FILE` or `--set`. This page is written by `tools/write_values_reference.py` from
[values.yaml](../charts/parley/values.yaml); a key that is not here is refused. Two ways to start:
[values-small.yaml](../charts/parley/values-small.yaml) and [values-ha.yaml](../charts/parley/values-ha.yaml); ways to be
reached from outside: [examples](../charts/parley/examples).

A secret is three keys: `value`, or `existingSecret` with the name of a Secret and `key` with the key in it; with neither,
what is said there holds. `services.<service>` and `together.<process>` take every key of `workload`, and those win.
"""

_TYPES: Final[dict[type, str]] = {bool: "boolean", int: "integer", float: "number", str: "string"}
_QUANTITIES: Final = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
_PLACEMENT: Final = (
    "nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName", "podLabels", "podAnnotations",
)  # fmt: skip


class ValuesError(Exception):
    """A key of values.yaml of which something is missing."""


@dataclass
class Key:
    """One key of values.yaml, with what is said of it and below it."""

    path: str
    value: Any
    description: str
    hints: dict[str, Any]
    children: list[Key] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def read_keys(text: str) -> list[Key]:
    """The keys of a values file. Raises ValuesError for one without a comment."""
    return list(_keys(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), ""))


def _keys(node: yaml.Node | None, lines: list[str], prefix: str) -> Iterator[Key]:
    """The keys of a mapping that is written in lines; one between braces is a value."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return
    for name, child in node.value:
        path = f"{prefix}{name.value}"
        description, hints = _comment(lines, name.start_mark.line, name.start_mark.column)
        free = "additionalProperties" in hints or name.value == "resources"
        if not description:
            raise ValuesError(f"{path} has no comment")
        children = [] if free else list(_keys(child, lines, f"{path}."))
        yield Key(path, _value(child), description, hints, children)


def _comment(lines: list[str], line: int, column: int) -> tuple[str, dict[str, Any]]:
    """The comment right above a line, and what it adds to the schema."""
    words: list[str] = []
    hints: dict[str, Any] = {}
    start = " " * column + "# "
    while line > 0 and lines[line - 1].startswith(start):
        line -= 1
        text = lines[line].removeprefix(start)
        if text.startswith("@schema "):
            hints = yaml.safe_load(text.removeprefix("@schema "))
        else:
            words.insert(0, text)
    return " ".join(words), hints


def _value(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def schema_of(keys: list[Key]) -> dict[str, Any]:
    """The schema of a mapping with these keys and no others."""
    return {"type": "object", "additionalProperties": False, "properties": {key.name: _schema_of_key(key) for key in keys}}


def _schema_of_key(key: Key) -> dict[str, Any]:
    hints = {name: value for name, value in key.hints.items() if name != "each"}
    if "$ref" in hints:
        return {"$ref": hints["$ref"]}  # what stands beside a reference is not looked at
    schema: dict[str, Any] = {"description": key.description}
    if isinstance(key.value, dict):
        schema |= {"type": "object"}
        if "each" in key.hints:
            schema |= {"additionalProperties": False, "properties": dict.fromkeys(key.value, key.hints["each"])}
        elif "additionalProperties" not in hints:
            if not key.children:
                raise ValuesError(f"{key.path}: say with @schema what the keys of this mapping are")
            schema |= schema_of(key.children)
    elif isinstance(key.value, list):
        if "items" not in hints:
            raise ValuesError(f"{key.path}: say with @schema what the items of this list are")
        schema["type"] = "array"
    elif "enum" not in hints:
        if type(key.value) not in _TYPES:
            raise ValuesError(f"{key.path}: its type cannot be seen from its value")
        schema["type"] = _TYPES[type(key.value)]
    return schema | hints


def definitions(workload: dict[str, Any]) -> dict[str, Any]:
    """What values of several keys have in common."""
    text = {"type": "string"}
    objects = {"type": "object", "additionalProperties": False}
    return {
        "workload": workload,
        "service": workload | {"properties": {"enabled": {"type": "boolean"}, **workload["properties"]}},
        "placement": objects | {"properties": {name: workload["properties"][name] for name in _PLACEMENT}},
        "secret": objects | {"properties": {"value": text, "existingSecret": text, "key": text | {"minLength": 1}}},
        "reference": objects | {"properties": {"name": text | {"minLength": 1}}, "required": ["name"]},
        "resources": objects | {"properties": {"requests": _QUANTITIES, "limits": _QUANTITIES, "claims": {"type": "array"}}},
        "port": objects
        | {
            "properties": {
                "enabled": {"type": "boolean"},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                "nodePort": {"type": "integer", "minimum": 0, "maximum": 65535},
            }
        },
        "config": objects | {"properties": _config()},
        "oidc": _item("web", "OidcConfig", {"ca": ["caSecret"]}, ["issuer", "audience"]),
        "ldap": _item(
            "addressbook", "LdapConfig", {"password": ["passwordSecret"], "password_file": [], "ca_file": ["caSecret"]},
            ["url", "base"],
        ),
    }  # fmt: skip


def _item(section: str, model: str, secrets: dict[str, list[str]], required: list[str]) -> dict[str, Any]:
    """The keys of an item of a list or mapping of a section.

    ``secrets``: keys that are not taken, and those in their place, which name a Secret.
    """
    defined = config_models()[section].model_json_schema()["$defs"]
    schema = _config_schema(defined[model], defined)
    properties = {name: value for name, value in schema["properties"].items() if name not in secrets}
    text = {"type": "string", "minLength": 1}
    reference = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"name": text, "key": text},
        "required": ["name"],
    }
    named = {name: reference for names in secrets.values() for name in names}
    return {**schema, "properties": properties | named, "required": required}


def _config_schema(model: dict[str, Any], defined: dict[str, Any]) -> dict[str, Any]:
    """The keys of a section; what their values may be Parley says itself."""
    properties: dict[str, Any] = {}
    for name, value in model["properties"].items():
        inner = [kind["$ref"].rpartition("/")[2] for kind in (value, *value.get("anyOf", ())) if "$ref" in kind]
        properties[name] = _config_schema(defined[inner[0]], defined) if inner else {}
        if value.get("writeOnly"):
            properties[f"{name}_file"] = {}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _config() -> dict[str, Any]:
    sections = {name: model.model_json_schema() for name, model in config_models().items()}
    return {name: _config_schema(section, section.get("$defs", {})) for name, section in sections.items()}


def schema(keys: list[Key]) -> dict[str, Any]:
    """The whole schema; `global` is what a chart around this one hands to all."""
    whole = schema_of(keys)
    whole["properties"]["global"] = {"type": "object"}
    workload = next(key for key in keys if key.name == "workload")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart of Parley",
        **whole,
        "$defs": definitions(schema_of(workload.children)),
    }


def reference(keys: list[Key]) -> str:
    """The page with all keys."""
    parts = [HEAD, _table("The whole", "", [key for key in keys if _is_row(key)])]
    parts += [_table(f"`{key.name}`", f"{key.description}.", list(_leaves(key))) for key in keys if not _is_row(key)]
    return "\n".join(parts)


def _table(title: str, about: str, keys: list[Key]) -> str:
    lines = [f"## {title}", "", *([about, ""] if about else []), "| key | default | meaning |", "|---|---|---|"]
    for key in keys:
        default = "a secret" if key.children else json.dumps(key.value, ensure_ascii=False)
        lines.append(f"| `{key.path}` | {'empty' if key.value in ('', [], {}) else f'`{default}`'} | {_meaning(key)} |")
    return "\n".join([*lines, ""])


def _meaning(key: Key) -> str:
    choices = ", ".join(
        f"`{choice or 'empty'}`" for choice in key.hints.get("enum", ()) if f"{choice}" not in key.description
    )
    return (key.description + (f" ({choices})" if choices else "")).replace("|", "/")


def _is_row(key: Key) -> bool:
    """Whether it is one row of the table: it holds no others, or is a secret, which looks the same everywhere."""
    return not key.children or key.hints.get("$ref") == "#/$defs/secret"


def _leaves(key: Key) -> Iterator[Key]:
    for child in key.children:
        if _is_row(child):
            yield child
        else:
            yield from _leaves(child)


def main(arguments: list[str]) -> int:
    """Writes both files, or says which of them is not what the values say."""
    try:
        keys = read_keys(VALUES.read_text())
        wanted = {SCHEMA: json.dumps(schema(keys), indent=1) + "\n", REFERENCE: reference(keys)}
    except ValuesError as error:
        print(f"{VALUES.relative_to(ROOT)}: {error}")
        return 1
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date; run tools/write_values_reference.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
