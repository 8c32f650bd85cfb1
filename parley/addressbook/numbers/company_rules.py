"""The rules of a company for its numbers (web-services sheet, sections 1.3 and 1.6).

A file has two lines for each rule: a pattern as .NET writes it, and what takes the place of what it finds, which has to be
a number of E.164: ``+44$1`` or ``tel:+44$1;ext=$2``. The first rule that finds something counts. A line that begins with
``#`` is a comment. A rule whose pattern is the word E164 has no use for its second line: it takes up to 15 digits. Whether
it takes more than digits, and that # begins a comment, is not confirmed for the original.

A rule that cannot be read leaves the others; a rule that takes too long in one number is passed over from then on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from parley.addressbook.errors import NumberRuleError
from parley.addressbook.numbers.patterns import SECONDS, Replacement, compile_pattern, parse_replacement
from parley.addressbook.numbers.texts import stripped, uri_of
from parley.addressbook.textfiles import TextFileError, decode

MAX_FILE: Final = 262_144
MAX_RULES: Final = 1_000
MAX_NUMBER: Final = 64
E164: Final = "E164"

_E164_INPUT: Final = re.compile(r"\+?([1-9][0-9]{2,14})")


@dataclass(frozen=True, slots=True)
class CompanyRule:
    """One rule."""

    pattern: str
    replacement: str
    line: int
    """Where its pattern stands, from 1."""
    _compiled: Any = field(compare=False, repr=False, default=None)
    _parsed: Replacement | None = field(compare=False, repr=False, default=None)

    @classmethod
    def of(cls, pattern: str, replacement: str, line: int = 0) -> CompanyRule:
        """Blanks around both are no part of them. Raises NumberRuleError."""
        pattern, replacement = pattern.strip(), replacement.strip()
        try:
            # Else a file of the rules would say something else.
            if "\n" in pattern + replacement or "\r" in pattern + replacement or replacement.startswith("#"):
                raise NumberRuleError("a rule has two lines, and the second one does not begin with #")
            if pattern == E164:
                return cls(pattern, replacement, line)
            compiled = compile_pattern(pattern)
            return cls(pattern, replacement, line, compiled, parse_replacement(replacement, compiled))
        except NumberRuleError as error:
            raise NumberRuleError(error.problem, line) from None

    def apply(self, text: str) -> str | None:
        """What becomes of a number; None when the rule does not find it. Raises TimeoutError.

        As in .NET, what the pattern leaves stays: a pattern that is not anchored seldom gives a number of E.164.
        """
        if self._parsed is None:
            found = _E164_INPUT.fullmatch(text)
            return f"+{found[1]}" if found is not None else None
        result, count = self._compiled.subn(self._parsed.expand, text, timeout=SECONDS)
        return result if count else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a number."""

    uri: str
    """``tel:+...``; "" for none."""
    reason: str
    """Which rule gave it, or why none did."""


class CompanyRules:
    """The rules of a file, in their order. It remembers which of them take too long."""

    def __init__(self, rules: Iterable[CompanyRule] = ()) -> None:
        self.rules = tuple(rules)
        self.slow: set[CompanyRule] = set()
        """Those that are passed over since they took too long."""

    def normalise(self, raw: str) -> Outcome | None:
        """What the first rule gives that finds the number; None when no rule does."""
        if len(raw) > MAX_NUMBER:
            return None
        text = stripped(raw)
        for rule in self.rules:
            if rule in self.slow:
                continue
            try:
                result = rule.apply(text)
            except TimeoutError:
                self.slow.add(rule)
                continue
            if result is None:
                continue
            uri = uri_of(stripped(result))
            if uri:
                return Outcome(uri, f"the rule in line {rule.line}")
            return Outcome(
                "", f"the rule in line {rule.line} gives {result[:40]!r}, which is no number of E.164; write +..."
            )
        return None

    def __bytes__(self) -> bytes:
        """The rules as address-book files carry them: UTF-8, lines ended by CR LF, no comments."""
        lines = [text for rule in self.rules for text in (_line(rule.pattern), rule.replacement or E164)]
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogatepass")


def _line(pattern: str) -> str:
    """A pattern as a line that is no comment."""
    return f"\\{pattern}" if pattern.startswith("#") else pattern


def parse_company_rules(data: bytes) -> tuple[CompanyRules, list[NumberRuleError]]:
    """The rules of a file, and what is wrong with those that cannot be used.

    Raises NumberRuleError for a file that cannot be read at all.
    """
    if len(data) > MAX_FILE:
        raise NumberRuleError(f"the file is larger than {MAX_FILE} bytes")
    try:
        text = decode(data)
    except TextFileError as error:
        raise NumberRuleError(str(error)) from None
    numbered = ((number, line.strip()) for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1))
    lines = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    if len(lines) > 2 * MAX_RULES:
        raise NumberRuleError(f"more than {MAX_RULES} rules are too many")
    rules: list[CompanyRule] = []
    problems: list[NumberRuleError] = []
    for (number, pattern), (_, replacement) in zip(lines[::2], lines[1::2], strict=False):
        try:
            rules.append(CompanyRule.of(pattern, replacement, number))
        except NumberRuleError as error:
            problems.append(error)
    if len(lines) % 2:
        problems.append(NumberRuleError("the rule has no second line; write what the number becomes", lines[-1][0]))
    return CompanyRules(rules), problems
