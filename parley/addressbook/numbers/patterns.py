"""Patterns and replacements as .NET writes them (MC-RegEx), for rules that companies bring along.

They run on the package regex, which knows most of what .NET does and, unlike the standard library's, ends a search after a
time. What would mean something else here than there is refused: subtraction of character classes, balancing groups, the
option "n", and references to groups that are not there.
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
_QUOTED_NAME: Final = re.compile(r"\(\?'(\w+)'")


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
    in_class = False
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            pair = text[at : at + 2]
            out.append(pair if in_class else {"\\z": r"\Z", "\\Z": r"(?=\n?\Z)"}.get(pair, pair))
            at += 2
            continue
        if in_class and char == "[":
            if text[at - 1] == "-":
                raise NumberRuleError("subtraction of character classes is not taken; list what is meant")
            char = r"\["
        elif char == "[":
            in_class = True
            if text[at + 1 : at + 2] == "^":
                char, at = "[^", at + 1
            if text[at + 1 : at + 2] == "]":  # the first one is a literal
                char, at = char + r"\]", at + 1
        elif in_class and char == "]":
            in_class = False
        elif not in_class and char == "(":
            named = _QUOTED_NAME.match(text, at)
            if named is not None:
                char, at = f"(?<{named[1]}>", named.end() - 1
        out.append(char)
        at += 1
    return "".join(out)


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
