"""Cards (RFC 6350 section 6.1; RFC 2426 section 2): from BEGIN to END, with limits. One that is bad leaves the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from parley.vcard.errors import VCardError
from parley.vcard.lines import ContentLine, escape, format_line, parse_line, split_value, unescape, unfolded

VERSIONS: Final = ("4.0", "3.0")
MAX_PROPERTIES: Final = 512
_HEAVY: Final = frozenset({"PHOTO", "LOGO", "SOUND", "KEY"})
"""Properties that may be longer than a line may; such are left out."""


@dataclass(frozen=True, slots=True)
class VCard:
    """One card."""

    version: str
    properties: tuple[ContentLine, ...]
    """In their order; without BEGIN, VERSION and END."""
    line: int = 0
    """Where it begins in its file, from 1."""

    def all(self, name: str) -> list[ContentLine]:
        """The properties of a name, the preferred ones first (PREF; TYPE=pref of 3.0)."""
        return sorted((item for item in self.properties if item.name == name), key=_preference)

    def first_text(self, name: str) -> str:
        """The preferred property of a name as a text; "" for none."""
        found = self.all(name)
        return found[0].text if found else ""

    @property
    def full_name(self) -> str:
        """FN; where a card has none, the parts of N in the order in which names are said."""
        name = self.first_text("FN").strip()
        if name:
            return name
        parts = self.all("N")
        if not parts:
            return ""
        texts = [unescape(part).strip() for part in split_value(parts[0].value, ";")]
        family, given, further, prefix, suffix = (texts + [""] * 5)[:5]
        return " ".join(text for text in (prefix, given, further, family, suffix) if text)

    def __bytes__(self) -> bytes:
        head = [ContentLine("BEGIN", "VCARD"), ContentLine("VERSION", self.version)]
        return b"".join(format_line(line) for line in (*head, *self.properties, ContentLine("END", "VCARD")))


@dataclass(frozen=True, slots=True)
class BadCard:
    """A card that cannot be taken, or what stands outside of any."""

    line: int
    problem: str


def _preference(item: ContentLine) -> int:
    """From 1, the most preferred, to 101."""
    for value in item.param("PREF"):
        if value.isascii() and value.isdigit() and len(value) <= 3 and 1 <= int(value) <= 100:
            return int(value)
    return 1 if any("pref" in value.lower().split(",") for value in item.param("TYPE")) else 101


def parse_vcards(data: bytes) -> Iterator[VCard | BadCard]:
    """The cards of a file, in their order."""
    reader: _Reader | None = None
    told = False  # of what stands outside of cards, the first line
    for number, raw in unfolded(data):
        keyword = raw.strip().upper() if raw is not None else b""
        if keyword == b"BEGIN:VCARD":
            if reader is not None:
                yield BadCard(reader.line, "the card has no END:VCARD")
            reader = _Reader(number)
        elif reader is None:
            if not told and (raw is None or raw.strip()):
                told = True
                yield BadCard(number, "this is outside of any card; a card begins with BEGIN:VCARD")
        elif keyword == b"END:VCARD":
            yield reader.card()
            reader, told = None, False
        else:
            reader.take(number, raw)
    if reader is not None:
        yield BadCard(reader.line, "the card has no END:VCARD")


class _Reader:
    """Gathers one card; the first problem counts."""

    def __init__(self, line: int) -> None:
        self.line = line
        self._versions: list[str] = []
        self._properties: list[ContentLine] = []
        self._problem: BadCard | None = None

    def take(self, number: int, raw: bytes | None) -> None:
        """A line of the card."""
        if self._problem is not None or raw is None:
            return
        try:
            line = parse_line(raw.decode())
        except UnicodeDecodeError:
            self._problem = BadCard(number, "this is not UTF-8; export the card as vCard 3.0 or 4.0")
            return
        except VCardError as error:
            self._problem = BadCard(number, str(error))
            return
        if line.name == "VERSION":
            self._versions.append(line.value.strip())
        elif line.name not in _HEAVY:
            self._properties.append(line)
            if len(self._properties) > MAX_PROPERTIES:
                self._problem = BadCard(self.line, "the card has too many properties")

    def card(self) -> VCard | BadCard:
        """What came of it."""
        if len(self._versions) != 1:
            return BadCard(self.line, "the card has no VERSION" if not self._versions else "the card has two VERSIONs")
        if self._versions[0] not in VERSIONS:
            return BadCard(self.line, f"vCard {self._versions[0][:20]} is not read; export it as 3.0 or 4.0")
        if self._problem is not None:
            return self._problem
        return VCard(self._versions[0], tuple(self._properties), self.line)


def name_properties(version: str, name: str) -> Iterable[ContentLine]:
    """What a card must say of its name: FN, and in 3.0 also N."""
    yield ContentLine("FN", escape(name))
    if version == "3.0":
        yield ContentLine("N", f"{escape(name)};;;;")
