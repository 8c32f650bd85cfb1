"""Patterns and replacements as .NET writes them (MC-RegEx), for rules that companies bring along.

They run on the package regex, which knows most of what .NET does and, unlike the standard library's, ends a search after a
time. What would mean something else here than there is refused: subtraction of character classes, balancing groups, the
option "n", references to groups that are not there, groups with and without names in one pattern, which .NET numbers in
another order, and all that only `regex` knows, as recursion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import regex

from parley.addressbook.errors import NumberRuleError

MAX_PATTERN: Final = 512
MAX_REPLACEMENT: Final = 256
SECONDS: Final = 0.05
"""How long one pattern may search in one number."""

_REFERENCE: Final = re.compile(r"\$(?:(\$)|(\d+)|\{(\w+)\}|([&+_`']))")
_OPTIONS: Final = re.compile(r"\(\?[a-zA-Z]*-?[a-zA-Z]*[:)]")
_BALANCING: Final = re.compile(r"\(\?[<'](?:\w*-\w+|\d+)[>']")
_GROUP: Final = re.compile(
    r"\((?:\?(?:[:=!>]|<[=!]|#[^)]*\)|[imsx]*(?:-[imsx]*)?[:)]|\((?!DEFINE\))|(?:<(?=\w+>)|'(?=\w+'))(\w+)[>']))?"
)
"""How .NET begins groups, and what else stands in parentheses."""
_QUANTIFIER: Final = re.compile(r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??")
_CATEGORY: Final = re.compile(r"\\[pP]\{[\w-]+\}")
_ESCAPES: Final = frozenset("aAbBcdDefGknpPrsStuvwWxzZ")
"""Letters that mean something in .NET behind a backslash."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What takes the place of what was found: texts, and the groups between them by number or name."""

    parts: tuple[str | int, ...]
    """Texts and numbers of groups, in turn."""

    def expand(self, found: Any) -> str:
        """The text for one match of `regex`."""
        return "".join(part if isinstance(part, str) else found[part] or "" for part in self.parts)


def compile_pattern(text: str) -> Any:
    """The compiled pattern of `regex`. Raises NumberRuleError."""
    if not text or len(text) > MAX_PATTERN:
        raise NumberRuleError(f"a pattern has 1 to {MAX_PATTERN} characters")
    if _BALANCING.search(text) is not None:
        raise NumberRuleError("balancing and numbered groups are not taken; give the group a name: (?<name>...)")
    for options in _OPTIONS.findall(text):
        if "n" in options:
            raise NumberRuleError('the option "n" is not taken; write (?:...) for groups that are not captured')
    translated = _translated(text)
    try:
        compiled = regex.compile(translated, regex.VERSION0)
        compiled.search("", timeout=SECONDS)
    except regex.error as error:
        raise NumberRuleError(f"the pattern cannot be read: {error}") from None
    except (OverflowError, RecursionError, MemoryError, TimeoutError):
        raise NumberRuleError("the pattern is too complex; write a simpler one") from None
    except (ValueError, IndexError, KeyError, TypeError):  # what regex raises for some patterns that are none
        raise NumberRuleError("the pattern cannot be read") from None
    return compiled


def _translated(text: str) -> str:
    """The pattern in the dialect of `regex`."""
    out: list[str] = []
    named = unnamed = False
    at = 0
    while at < len(text):
        if text[at] == "\\":
            part, end = _escape(text, at)
            part = {"\\z": r"\Z", "\\Z": r"(?=\n?\Z)"}.get(part, part)
        elif text[at] == "[":
            part, end = _class(text, at)
        elif text[at] == "(":
            part, end, name = _group_start(text, at)
            named, unnamed = named or bool(name), unnamed or part == "("
        elif (found := _QUANTIFIER.match(text, at)) is not None:
            part, end = found[0], found.end()
            if _QUANTIFIER.match(text, end) is not None:
                raise NumberRuleError(f"the quantifier at character {end + 1} has nothing before it that it could be for")
        else:
            part, end = text[at], at + 1
            if part == "{":  # here it would begin a tolerance for what is misspelled
                part = r"\{"
        out.append(part)
        at = end
    if named and unnamed:
        raise NumberRuleError("groups have either all a name, or none; write (?:...) for those that are not captured")
    return "".join(out)


def _escape(text: str, at: int) -> tuple[str, int]:
    """What a backslash begins, and where that ends."""
    pair = text[at : at + 2]
    if pair[1:].isascii() and pair[1:].isalpha() and pair[1:] not in _ESCAPES:
        raise NumberRuleError(f"{pair} is not known; write the character alone, or what stands for it in .NET")
    if pair[1:] in ("p", "P"):
        category = _CATEGORY.match(text, at)
        if category is None:
            raise NumberRuleError(f"{pair} has to name what it is for, as in {pair}{{L}}")
        pair = category[0]
    return pair, at + len(pair)


def _class(text: str, at: int) -> tuple[str, int]:
    """A character class, and where it ends."""
    out = ["["]
    at += 1
    if text[at : at + 1] == "^":
        out.append("^")
        at += 1
    if text[at : at + 1] == "]":  # the first one is a literal
        out.append(r"\]")
        at += 1
    while at < len(text) and text[at] != "]":
        part, end = _escape(text, at) if text[at] == "\\" else (text[at], at + 1)
        if part == "[":
            if text[at - 1] == "-":
                raise NumberRuleError("subtraction of character classes is not taken; list what is meant")
            part = r"\["
        out.append(part)
        at = end
    return "".join(out) + text[at : at + 1], at + 1


def _group_start(text: str, at: int) -> tuple[str, int, str]:
    """What a parenthesis begins, where that ends, and the name of the group; "" for none."""
    found = _GROUP.match(text, at)
    assert found is not None
    if found[0] == "(" and text[found.end() : found.end() + 1] in ("?", "*"):
        raise NumberRuleError(f"{text[at : at + 4]!r} begins nothing that is known in .NET")
    name = found[1] or ""
    return (f"(?<{name}>" if name else found[0]), found.end(), name


def parse_replacement(text: str, pattern: Any) -> Replacement:
    """The replacement for a compiled pattern. Raises NumberRuleError for a group that the pattern does not have."""
    if not text or len(text) > MAX_REPLACEMENT:
        raise NumberRuleError(f"a replacement has 1 to {MAX_REPLACEMENT} characters")
    parts: list[str | int] = []
    at = 0
    for reference in _REFERENCE.finditer(text):
        parts.append(text[at : reference.start()])
        parts.append(_group(reference, pattern))
        at = reference.end()
    parts.append(text[at:])
    return Replacement(tuple(part for part in parts if part != ""))


def _group(reference: re.Match[str], pattern: Any) -> str | int:
    dollar, digits, name, other = reference.groups()
    if dollar:
        return "$"
    if other:
        if other == "&":
            return 0
        raise NumberRuleError(f"${other} is not taken in a replacement; use $1, ${{name}} or $&")
    wanted = digits or name
    if wanted.isascii() and wanted.isdigit():
        number = int(wanted) if len(wanted) < 4 else pattern.groups + 1
        if number > pattern.groups:
            raise NumberRuleError(f"the pattern has no group {wanted}; for group 1 and a digit write ${{1}}0")
        return number
    index = pattern.groupindex.get(wanted)
    if index is None:
        raise NumberRuleError(f"the pattern has no group {wanted!r}")
    return int(index)
