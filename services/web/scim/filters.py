"""Filters of SCIM (RFC 7644 section 3.4.2.2): eq, ne, co, sw, ew, pr, and, or, not, parentheses, and value paths.

The order comparisons (gt, ge, lt, le) are refused. Attributes are compared without case, strings too (all that are kept are
caseExact false, but ids, which have no case).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from services.web.errors import HttpError

Resource = dict[str, Any]
Test = Callable[[Resource], bool]

_TOKEN: Final = re.compile(r'\s*(?:([()\[\]])|("(?:[^"\\]|\\.)*")|([^\s()\[\]"]+))')
_ATTRIBUTE: Final = re.compile(r"(?:urn:[A-Za-z0-9:._-]+:)?[A-Za-z$][A-Za-z0-9_$-]*(?:\.[A-Za-z$][A-Za-z0-9_$-]*)?")
SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON can have and UTF-8 cannot."""
_OPERATORS: Final = ("eq", "ne", "co", "sw", "ew")
_MAX_LENGTH: Final = 1_024
_MAX_DEPTH: Final = 8


def invalid_filter(text: str) -> HttpError:
    """How a filter is refused."""
    return HttpError(400, text, kind="invalidFilter")


@dataclass(frozen=True, slots=True)
class Filter:
    """What resources are asked for."""

    matches: Test
    exact: tuple[str, str] | None = None
    """Attribute (lower case) and text (as it is given), when it is one comparison with eq."""


def parse_filter(text: str) -> Filter:
    """Raises HttpError 400 (invalidFilter)."""
    if len(text) > _MAX_LENGTH:
        raise invalid_filter("the filter is too long")
    parser = _Parser(_tokens(text))
    test = parser.alternatives(0)
    if parser.next is not None:
        raise invalid_filter(f"nothing can follow before {parser.next[:40]!r}")
    return Filter(test, parser.only)


def _tokens(text: str) -> list[str]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise invalid_filter("a text lacks its end")
        found.append(match[0].strip())
        at = match.end()
    return found


def values_at(resource: Any, path: str) -> list[Any]:
    """What an attribute path comes to, without case; the items of multi-valued attributes one by one."""
    found = [resource]
    for name in _names(path):
        following: list[Any] = []
        for item in found:
            if isinstance(item, dict):
                value = next((value for key, value in item.items() if key.lower() == name), None)
                following.extend(value if isinstance(value, list) else [] if value is None else [value])
        found = following
    return found


def _names(path: str) -> list[str]:
    """The names of a path; a URN before the attribute is one (extension) or none (the core schemas)."""
    lower = path.lower()
    if not lower.startswith("urn:"):
        return lower.split(".")
    urn, _, rest = lower.rpartition(":")
    return ([urn] if ":extension:" in urn else []) + rest.split(".")


class _Parser:
    """One filter; recursive descent."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self.only: tuple[str, str] | None = None
        self._comparisons = 0

    @property
    def next(self) -> str | None:
        """The next; None at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self) -> str:
        word = self.next
        if word is None:
            raise invalid_filter("the filter ends too early")
        self._at += 1
        return word

    def alternatives(self, depth: int) -> Test:
        """Operands of or."""
        if depth > _MAX_DEPTH:
            raise invalid_filter("the filter is nested too deeply")
        tests = [self._conjunction(depth)]
        while (self.next or "").lower() == "or":
            self._take()
            tests.append(self._conjunction(depth))
        return tests[0] if len(tests) == 1 else lambda resource: any(test(resource) for test in tests)

    def _conjunction(self, depth: int) -> Test:
        tests = [self._operand(depth)]
        while (self.next or "").lower() == "and":
            self._take()
            tests.append(self._operand(depth))
        return tests[0] if len(tests) == 1 else lambda resource: all(test(resource) for test in tests)

    def _operand(self, depth: int) -> Test:
        word = self._take()
        if word.lower() == "not":
            if self.next != "(":
                raise invalid_filter("what follows not has to be in parentheses")
            self._take()
            inner = self._until(")", depth)
            self.only, self._comparisons = None, 2
            return lambda resource: not inner(resource)
        if word == "(":
            return self._until(")", depth)
        return self._comparison(word, depth)

    def _until(self, end: str, depth: int) -> Test:
        test = self.alternatives(depth + 1)
        if self._take() != end:
            raise invalid_filter(f"{end} is missing")
        return test

    def _comparison(self, path: str, depth: int) -> Test:
        if _ATTRIBUTE.fullmatch(path) is None:
            raise invalid_filter(f"{path[:40]!r} is no attribute")
        self._comparisons += 1
        if self.next == "[":
            self._take()
            inner = self._until("]", depth)
            self.only = None
            return lambda resource: any(inner(item) for item in values_at(resource, path) if isinstance(item, dict))
        operator = self._take().lower()
        if operator == "pr":
            self.only = None
            return lambda resource: any(value not in ("", None, {}) for value in values_at(resource, path))
        if operator not in _OPERATORS:
            raise invalid_filter(f"{operator[:40]!r} is no comparison that is taken; use {', '.join(_OPERATORS)} or pr")
        value = _value(self._take())
        self.only = (path.lower(), value) if operator == "eq" and isinstance(value, str) else None
        if self._comparisons > 1:
            self.only = None
        return _compared(path, operator, value)


def _value(token: str) -> Any:
    try:
        value = json.loads(token)
    except ValueError:
        raise invalid_filter(f"{token[:40]!r} is no value; texts are in quotes") from None
    if isinstance(value, dict | list):
        raise invalid_filter("a value is a text, a number, true, false or null")
    if isinstance(value, str) and SURROGATE.search(value) is not None:
        raise invalid_filter("a text has half of a character")
    return value


def _compared(path: str, operator: str, wanted: Any) -> Test:
    value = wanted.casefold() if isinstance(wanted, str) else wanted

    def test(item: Any) -> bool:
        if isinstance(item, dict):
            item = item.get("value")
        found = item.casefold() if isinstance(item, str) else item
        if operator in ("eq", "ne"):
            return type(found) is type(value) and bool(found == value)
        if not isinstance(found, str) or not isinstance(value, str):
            return False
        if operator == "co":
            return value in found
        return found.startswith(value) if operator == "sw" else found.endswith(value)

    if operator == "ne":
        return lambda resource: not any(test(item) for item in values_at(resource, path))
    return lambda resource: any(test(item) for item in values_at(resource, path))
