"""Search filters of LDAP as texts (RFC 4515): read, written, and put together without injection.

Values are bytes, as LDAP has them: a GUID is searched for by its bytes, text by its UTF-8. ``str()`` of a filter escapes all
that has to be escaped, so a filter that is put together from these classes means what it says, whatever the values hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from parley.addressbook.errors import FilterError

MAX_FILTER: Final = 16_384
MAX_DEPTH: Final = 24
MAX_ITEMS: Final = 1_024

_NAME: Final = r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)(?:;[A-Za-z0-9-]+)*"
_EXTENSIBLE: Final = re.compile(rf"({_NAME})?(:dn)?(?::({_NAME}))?:=", re.IGNORECASE)
_SIMPLE: Final = re.compile(rf"({_NAME})(=|~=|>=|<=)")
_VALUE: Final = re.compile(r"(?:[^()*\\\x00]|\\[0-9A-Fa-f]{2})*")
_ESCAPED: Final = re.compile(rb"\\([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class And:
    """All of them; none means true (RFC 4526)."""

    filters: tuple[Filter, ...]

    def __str__(self) -> str:
        return f"(&{''.join(map(str, self.filters))})"


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them; none means false (RFC 4526)."""

    filters: tuple[Filter, ...]

    def __str__(self) -> str:
        return f"(|{''.join(map(str, self.filters))})"


@dataclass(frozen=True, slots=True)
class Not:
    """What it is not."""

    filter: Filter

    def __str__(self) -> str:
        return f"(!{self.filter})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A value that an attribute is compared with."""

    attribute: str
    value: bytes
    operator: str = "="
    """``=``, ``~=``, ``>=`` or ``<=``."""

    def __str__(self) -> str:
        return f"({self.attribute}{self.operator}{escape_bytes(self.value)})"


@dataclass(frozen=True, slots=True)
class Present:
    """An attribute that has a value."""

    attribute: str

    def __str__(self) -> str:
        return f"({self.attribute}=*)"


@dataclass(frozen=True, slots=True)
class Substrings:
    """Parts of a value in their order; at least one is not empty."""

    attribute: str
    initial: bytes = b""
    any: tuple[bytes, ...] = ()
    """None of them empty."""
    final: bytes = b""

    def __str__(self) -> str:
        parts = [self.initial, *self.any, self.final]
        return f"({self.attribute}={'*'.join(map(escape_bytes, parts))})"


@dataclass(frozen=True, slots=True)
class Extensible:
    """A comparison by a named rule: ``(memberOf:1.2.840.113556.1.4.1941:=cn=...)``."""

    attribute: str
    """"" for all that the rule takes; then there is a rule."""
    value: bytes
    rule: str = ""
    dn: bool = False
    """Whether the attributes of the DN are compared as well."""

    def __str__(self) -> str:
        rule = f":{self.rule}" if self.rule else ""
        return f"({self.attribute}{':dn' if self.dn else ''}{rule}:={escape_bytes(self.value)})"


Filter = And | Or | Not | Comparison | Present | Substrings | Extensible


def escape_bytes(value: bytes) -> str:
    """Bytes as a value within a filter."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "".join(f"\\{byte:02x}" for byte in value)
    return "".join(f"\\{ord(char):02x}" if char in "*()\\\0" or char < " " else char for char in text)


def parse_filter(text: str) -> Filter:
    """The filter of a text. Raises FilterError."""
    if len(text) > MAX_FILTER:
        raise FilterError(f"the filter is longer than {MAX_FILTER} characters; shorten it")
    reader = _Reader(text.strip())
    found = reader.filter(0)
    if reader.at != len(reader.text):
        raise reader.error("there is more behind the filter; put both into (&...) or (|...)")
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._items = 0

    def error(self, problem: str) -> FilterError:
        return FilterError(f"at character {self.at + 1}: {problem}")

    def filter(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise self.error("the filter is nested too deeply")
        self._items += 1
        if self._items > MAX_ITEMS:
            raise self.error(f"more than {MAX_ITEMS} parts are too many")
        self._take("(")
        found: Filter
        match self.text[self.at : self.at + 1]:
            case "&":
                found = And(self._list(depth))
            case "|":
                found = Or(self._list(depth))
            case "!":
                self.at += 1
                found = Not(self.filter(depth + 1))
            case _:
                found = self._item()
        self._take(")")
        return found

    def _list(self, depth: int) -> tuple[Filter, ...]:
        self.at += 1
        found: list[Filter] = []
        while self.text.startswith("(", self.at):
            found.append(self.filter(depth + 1))
        return tuple(found)

    def _item(self) -> Filter:
        simple = _SIMPLE.match(self.text, self.at)
        if simple is not None:
            self.at = simple.end()
            return self._values(simple[1], simple[2])
        extensible = _EXTENSIBLE.match(self.text, self.at)
        if extensible is None or not (extensible[1] or extensible[3]):
            raise self.error("a comparison is missing; write attribute=value")
        self.at = extensible.end()
        return Extensible(extensible[1] or "", self._value(), extensible[3] or "", bool(extensible[2]))

    def _values(self, attribute: str, operator: str) -> Filter:
        parts = [self._value()]
        while operator == "=" and self.text.startswith("*", self.at):
            self.at += 1
            parts.append(self._value())
        if len(parts) == 1:
            return Comparison(attribute, parts[0], operator)
        if not any(parts):
            if len(parts) == 2:
                return Present(attribute)
            raise self.error("nothing stands between the asterisks")
        initial, *inner, final = parts
        if not all(inner):
            raise self.error("nothing stands between the asterisks")
        return Substrings(attribute, initial, tuple(inner), final)

    def _value(self) -> bytes:
        found = _VALUE.match(self.text, self.at)
        raw = found[0] if found is not None else ""
        self.at += len(raw)
        try:
            encoded = raw.encode()
        except UnicodeEncodeError:
            raise self.error("a value holds half a character") from None
        return _ESCAPED.sub(lambda escaped: bytes([int(escaped[1], 16)]), encoded)

    def _take(self, char: str) -> None:
        if not self.text.startswith(char, self.at):
            found = self.text[self.at : self.at + 1]
            if found == "\\":
                raise self.error("a backslash is followed by two hexadecimal digits; write \\5c for a backslash")
            raise self.error(f"{char} is missing" + (f"; found {found!r}" if found else ""))
        self.at += 1
