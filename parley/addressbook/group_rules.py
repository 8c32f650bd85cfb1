"""Rules of dynamic groups: what their members have in common. Small and safe: attributes, texts, and, or, not.

    department = "Sales" and country in ("DE", "AT") and not title contains "intern"

Comparisons: ``=``, ``!=``, ``in (...)``, ``not in (...)``, ``contains``, ``startswith``, ``endswith`` and ``exists``.
Attributes have the names of `parley.addressbook.attributes`. Texts are compared without case and accents; of an attribute
with several values one has to fit, and with ``!=`` and ``not in`` none may. ``and`` binds more than ``or``. Groups are never
members of a dynamic group, so that no rule can lead to itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from parley.addressbook.attributes import ATTRIBUTES, attribute
from parley.addressbook.entries import MAX_RULE, Entry, Kind
from parley.addressbook.errors import RuleError
from parley.addressbook.searching.folding import fold

MAX_DEPTH: Final = 16
MAX_COMPARISONS: Final = 64
MAX_VALUES: Final = 256

_TOKEN: Final = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(!=|[=(),])|([A-Za-z][A-Za-z0-9-]*)|(\S))', re.DOTALL)
_WORDS: Final = frozenset({"and", "or", "not", "in", "contains", "startswith", "endswith", "exists"})


class Operator(StrEnum):
    """How values are compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    IN = "in"
    NOT_IN = "not in"
    CONTAINS = "contains"
    STARTS_WITH = "startswith"
    ENDS_WITH = "endswith"
    EXISTS = "exists"


_LISTS: Final = (Operator.IN, Operator.NOT_IN)
_NEGATIVE: Final = (Operator.NOT_EQUAL, Operator.NOT_IN)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute and what its values are compared with."""

    attribute: str
    operator: Operator
    values: tuple[str, ...] = ()
    """One, of ``in`` several, of ``exists`` none."""
    _folded: tuple[str, ...] = field(init=False, compare=False, repr=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "_folded", tuple(map(fold, self.values)))

    def fits(self, entry: Entry) -> bool:
        """Whether it holds for an entry."""
        known = attribute(self.attribute)
        texts = [fold(text) for text in known.values(entry)] if known is not None else []
        if self.operator in _NEGATIVE:
            return not any(text in self._folded for text in texts)
        return any(self._fits(text) for text in texts)

    def _fits(self, text: str) -> bool:
        match self.operator:
            case Operator.CONTAINS:
                return self._folded[0] in text
            case Operator.STARTS_WITH:
                return text.startswith(self._folded[0])
            case Operator.ENDS_WITH:
                return text.endswith(self._folded[0])
            case Operator.EXISTS:
                return True
        return text in self._folded

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return f"{self.attribute} {self.operator}"
        quoted = [_quoted(value) for value in self.values]
        return f"{self.attribute} {self.operator} " + (f"({', '.join(quoted)})" if self.operator in _LISTS else quoted[0])


@dataclass(frozen=True, slots=True)
class Not:
    """What does not hold."""

    part: Node

    def fits(self, entry: Entry) -> bool:
        """Whether it holds for an entry."""
        return not self.part.fits(entry)

    def __str__(self) -> str:
        return f"not {_inner(self.part)}"


@dataclass(frozen=True, slots=True)
class All:
    """Two or more that all have to hold."""

    parts: tuple[Node, ...]

    def fits(self, entry: Entry) -> bool:
        """Whether they hold for an entry."""
        return all(part.fits(entry) for part in self.parts)

    def __str__(self) -> str:
        return " and ".join(map(_inner, self.parts))


@dataclass(frozen=True, slots=True)
class Either:
    """Two or more of which one has to hold."""

    parts: tuple[Node, ...]

    def fits(self, entry: Entry) -> bool:
        """Whether one holds for an entry."""
        return any(part.fits(entry) for part in self.parts)

    def __str__(self) -> str:
        return " or ".join(map(_inner, self.parts))


Node = Comparison | Not | All | Either


def _inner(part: Node) -> str:
    return str(part) if isinstance(part, Comparison | Not) else f"({part})"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule."""

    root: Node

    def fits(self, entry: Entry) -> bool:
        """Whether an entry is a member: never a group, nor who is disabled."""
        return entry.kind is not Kind.GROUP and entry.enabled and self.root.fits(entry)

    def __str__(self) -> str:
        return str(self.root)

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Raises RuleError."""
        if len(text) > MAX_RULE:
            raise RuleError(f"a rule has at most {MAX_RULE} characters; shorten it")
        reader = _Reader(text)
        root = reader.either(0)
        if reader.ahead:
            raise reader.error("and, or, or the end is expected")
        return cls(root)


class _Reader:
    """Reads tokens; ``ahead`` is the next one, "" at the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begin = self._end = 0
        self._comparisons = self._values = 0
        self.ahead = ""
        self.next()

    def error(self, problem: str) -> RuleError:
        found = f"; found {self.ahead[:30]}" if self.ahead else "; the rule ends"
        return RuleError(f"at character {self._begin + 1}: {problem}{found}")

    def next(self) -> str:
        """The token; goes to the next one."""
        token = self.ahead
        found = _TOKEN.match(self._text, self._end)
        if found is None:
            self._begin, self.ahead = len(self._text.rstrip()), ""
            return token
        self._begin, self._end = found.start(found.lastindex or 0), found.end()
        self.ahead = found[found.lastindex or 0]
        if found[4]:
            problem = "a text has to end with a quotation mark" if found[4] == '"' else "this cannot be read"
            raise self.error(problem)
        return token

    def _is(self, word: str) -> bool:
        return self.ahead.lower() == word

    def either(self, depth: int) -> Node:
        parts = [self.all(depth)]
        while self._is("or"):
            self.next()
            parts.append(self.all(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def all(self, depth: int) -> Node:
        parts = [self.one(depth)]
        while self._is("and"):
            self.next()
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def one(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error("the rule is nested too deeply")
        if self._is("not"):
            self.next()
            return Not(self.one(depth + 1))
        if self.ahead == "(":
            self.next()
            inner = self.either(depth + 1)
            if self.ahead != ")":
                raise self.error(") is missing")
            self.next()
            return inner
        return self._comparison()

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise self.error(f"a rule has at most {MAX_COMPARISONS} comparisons")
        if not self.ahead[:1].isalpha() or self.ahead.lower() in _WORDS:
            raise self.error("an attribute is expected")
        known = attribute(self.ahead)
        if known is None:
            names = ", ".join(item.name for item in ATTRIBUTES)
            raise self.error(f"there is no such attribute; there are {names}")
        self.next()
        operator = self._operator()
        if operator is Operator.EXISTS:
            return Comparison(known.name, operator)
        return Comparison(known.name, operator, self._list() if operator in _LISTS else (self._value(),))

    def _operator(self) -> Operator:
        word = self.ahead.lower()
        if word == "not":
            self.next()
            if not self._is("in"):
                raise self.error("in is expected after not")
            word = "not in"
        try:
            operator = Operator(word)
        except ValueError:
            raise self.error(f"one of {', '.join(Operator)} is expected") from None
        self.next()
        return operator

    def _list(self) -> tuple[str, ...]:
        if self.ahead != "(":
            raise self.error('( is expected, as in ("DE", "AT")')
        values = []
        while True:
            self.next()
            values.append(self._value())
            if self.ahead != ",":
                break
        if self.ahead != ")":
            raise self.error(") or , is expected")
        self.next()
        return tuple(values)

    def _value(self) -> str:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self.error(f"a rule has at most {MAX_VALUES} values")
        if not self.ahead.startswith('"'):
            raise self.error("a text in quotation marks is expected")
        return re.sub(r"\\(.)", r"\1", self.next()[1:-1], flags=re.DOTALL)
