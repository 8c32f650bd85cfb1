"""Content lines of vCard (RFC 6350 sections 3.2 to 3.4): folding, parameters, and the escapes of values.

Folding is of bytes and may split a character, as 3.0 allows; so lines are put together before they are decoded. Parameters
have the escapes of RFC 6868. A parameter without a value, as vCard 2.1 has them, is taken for a TYPE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from parley.vcard.errors import VCardError

MAX_LINE: Final = 65_536
"""Bytes of one line, put together; longer ones (pictures) are passed over."""
MAX_PARAMS: Final = 64
FOLD: Final = 75

_NAME: Final = re.compile(r"(?:([A-Za-z0-9-]+)\.)?([A-Za-z0-9-]+)")
_PARAM: Final = re.compile(r";([A-Za-z0-9-]+)")
_PARAM_VALUE: Final = re.compile(r'"([^"\x00-\x08\x0a-\x1f\x7f]*)"|([^";:,\x00-\x08\x0a-\x1f\x7f]*)')
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r"\r\n?|[\\,;\n\x00-\x08\x0b-\x1f\x7f]")
_CARET: Final = re.compile(r"\^([\^n'])")
_CARET_MEANS: Final = {"^": "^", "n": "\n", "'": '"'}


@dataclass(frozen=True, slots=True)
class ContentLine:
    """One property of a card."""

    name: str
    """In upper case."""
    value: str
    """As it stands, escapes included."""
    params: tuple[tuple[str, str], ...] = ()
    """Name in upper case and value; a parameter with several values is here several times."""
    group: str = ""

    def param(self, name: str) -> list[str]:
        """The values of a parameter."""
        return [value for known, value in self.params if known == name]

    @property
    def text(self) -> str:
        """The value as one text."""
        return unescape(self.value)

    @property
    def texts(self) -> list[str]:
        """The value as a list of texts, separated by commas."""
        return [unescape(part) for part in split_value(self.value, ",")]


def parse_line(text: str) -> ContentLine:
    """Raises VCardError."""
    found = _NAME.match(text)
    if found is None:
        raise VCardError("this is no property; write NAME:value")
    group, name = found[1] or "", found[2].upper()
    at = found.end()
    params: list[tuple[str, str]] = []
    while text[at : at + 1] == ";":
        at = _take_param(text, at, params)
        if len(params) > MAX_PARAMS:
            raise VCardError(f"{name} has too many parameters")
    if text[at : at + 1] != ":":
        raise VCardError(f"{name} has no value; write {name}:value")
    value = text[at + 1 :]
    if _CONTROLS.search(value) is not None or "\n" in value:
        raise VCardError(f"{name} holds control characters")
    return ContentLine(name, value, tuple(params), group)


def _take_param(text: str, at: int, params: list[tuple[str, str]]) -> int:
    """Reads one parameter that begins at a semicolon; where it ends."""
    found = _PARAM.match(text, at)
    if found is None:
        raise VCardError("a parameter without a name")
    name, at = found[1].upper(), found.end()
    if text[at : at + 1] != "=":
        params.append(("TYPE", found[1]))
        return at
    while True:
        value = _PARAM_VALUE.match(text, at + 1)
        if value is None:
            raise VCardError(f"the value of {name} cannot be read")
        params.append((name, _CARET.sub(lambda caret: _CARET_MEANS[caret[1]], value[1] or value[2] or "")))
        at = value.end()
        if text[at : at + 1] != ",":
            return at
        if len(params) > MAX_PARAMS:
            raise VCardError("too many parameters")


def format_line(line: ContentLine) -> bytes:
    """The line in UTF-8, folded, with its line break."""
    head = f"{line.group}.{line.name}" if line.group else line.name
    params = "".join(f";{name}={_param_text(value)}" for name, value in line.params)
    return fold(f"{head}{params}:{line.value}".encode())


def _param_text(value: str) -> str:
    text = value.replace("^", "^^").replace("\n", "^n").replace('"', "^'")
    return f'"{text}"' if not text or any(char in text for char in ";:,") else text


def fold(line: bytes) -> bytes:
    """Breaks a line after at most 75 bytes, never within a character, and ends it."""
    parts = []
    begin, room = 0, FOLD
    while len(line) - begin > room:
        end = begin + room
        while line[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(line[begin:end])
        begin, room = end, FOLD - 1  # the blank that a continuation begins with counts
    parts.append(line[begin:])
    return b"\r\n ".join(parts) + b"\r\n"


def unfolded(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file, put together, each with the number of its first line from 1; None for one that is too long.

    Lines end with CRLF or LF. Empty ones are passed over.
    """
    first, parts, size = 0, [b""], 0
    for number, raw in enumerate(_physical(data), 1):
        if raw[:1] in (b" ", b"\t") and first:
            size += len(raw) - 1
            if size <= MAX_LINE:
                parts.append(raw[1:])
            continue
        if first and size:
            yield first, b"".join(parts) if size <= MAX_LINE else None
        first, parts, size = number, [raw[: MAX_LINE + 1]], len(raw)
    if first and size:
        yield first, b"".join(parts) if size <= MAX_LINE else None


def _physical(data: bytes) -> Iterator[bytes]:
    begin = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        if end < 0:
            end = len(data)
        yield data[begin : end - 1] if end > begin and data[end - 1] == 0x0D else data[begin:end]
        begin = end + 1


def escape(text: str) -> str:
    """A text as a value, or as one part of a list; control characters but line breaks and tabs are written as blanks."""
    return _TO_ESCAPE.sub(lambda found: _escaped(found[0]), text)


def _escaped(char: str) -> str:
    if char[0] in "\r\n":
        return "\\n"
    return "\\" + char if char in "\\,;" else " "


def unescape(value: str) -> str:
    """What `escape` was given; a backslash before any other character is dropped."""
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], value)


def split_value(value: str, separator: str) -> list[str]:
    """The parts of a value, escapes included; a separator behind a backslash is none."""
    parts: list[str] = []
    begin = at = 0
    while at < len(value):
        if value[at] == "\\":
            at += 1
        elif value[at] == separator:
            parts.append(value[begin:at])
            begin = at + 1
        at += 1
    parts.append(value[begin:])
    return parts


def joined(texts: Iterable[str]) -> str:
    """Texts as the value of a list."""
    return ",".join(escape(text) for text in texts)
