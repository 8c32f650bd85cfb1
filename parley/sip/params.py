"""Parameters ``;name=value`` of URIs and headers: ordered, names without regard to case (RFC 3261 section 25.1).

Values are kept as they were written, escapes and quotes included, so that writing them back changes nothing.
`unquote` and `quote` translate quoted strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from parley.sip.errors import SipParseError


class Params:
    """An ordered list of parameters; a flag has the value None."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str | None]] = ()) -> None:
        self._items: list[tuple[str, str | None]] = list(items)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The raw value of the first parameter of that name; ``default`` when absent, None also for a flag."""
        lower = name.lower()
        for key, value in self._items:
            if key.lower() == lower:
                return value
        return default

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        lower = name.lower()
        return any(key.lower() == lower for key, _ in self._items)

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._items == other._items

    def __hash__(self) -> int:
        return hash(tuple(self._items))

    def __repr__(self) -> str:
        return f"Params({self._items!r})"

    def set(self, name: str, value: str | None) -> None:
        """Replaces the first parameter of that name, or adds one at the end."""
        lower = name.lower()
        for index, (key, _) in enumerate(self._items):
            if key.lower() == lower:
                self._items[index] = (key, value)
                return
        self._items.append((name, value))

    def remove(self, name: str) -> None:
        """Removes all parameters of that name."""
        lower = name.lower()
        self._items = [(key, value) for key, value in self._items if key.lower() != lower]

    def copy(self) -> Params:
        """A copy that can be changed alone."""
        return Params(self._items)

    def __str__(self) -> str:
        return "".join(f";{key}" if value is None else f";{key}={value}" for key, value in self._items)


def parse_params(text: str, what: str = "parameter") -> Params:
    """Reads ``a=1;b;c="x;y"``, what follows the first semicolon. Raises SipParseError 400.

    One semicolon too many at the end is forgiven, an empty parameter is not (RFC 4475 section 3.1.2.1).
    """
    items: list[tuple[str, str | None]] = []
    parts = _split_quoted(text, what) if '"' in text else text.split(";")
    last = len(parts) - 1
    for index, part in enumerate(parts):
        name, equals, value = part.partition("=")
        name = name.strip(" \t")
        if not name:
            if equals:
                raise SipParseError(400, f"Empty {what} Name")
            if index < last:
                raise SipParseError(400, f"Empty {what}")
            continue
        items.append((name, value.strip(" \t") if equals else None))
    return Params(items)


# Possessive, so that no input makes it try again; a quote that is not closed takes all that follows.
_PART = re.compile(r'(?:[^;"]++|"(?:[^"\\]++|\\.)*+"|(")[\s\S]*+)*+', re.DOTALL)


def _split_quoted(text: str, what: str) -> list[str]:
    """The parts between semicolons that are in no quoted string."""
    parts: list[str] = []
    at = 0
    while True:
        found = _PART.match(text, at)
        if found is None or found.group(1) is not None:
            raise SipParseError(400, f"Unterminated Quoted String in {what}")
        parts.append(found.group())
        at = found.end() + 1
        if at > len(text):
            return parts


def unquote(value: str) -> str:
    """The text of a quoted string; anything else is returned as it is."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    inner = value[1:-1]
    if "\\" not in inner:
        return inner
    out: list[str] = []
    index = 0
    while index < len(inner):
        if inner[index] == "\\" and index + 1 < len(inner):
            index += 1
        out.append(inner[index])
        index += 1
    return "".join(out)


def quote(text: str) -> str:
    """A quoted string with what must be escaped escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
