"""Bodies of several parts, and heads of MIME parts (RFC 2045, RFC 2046 section 5.1, RFC 2387)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from parley.presence.standard.errors import DocumentError
from parley.sip.errors import SipParseError
from parley.sip.params import parse_params, unquote

MAX_BYTES: Final = 1_048_576
MAX_PARTS: Final = 1000
MAX_HEADERS: Final = 64
MAX_LINE: Final = 4096

_BOUNDARY = re.compile("[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_NAME = re.compile("[!-9;-~]{1,128}")
_NOT_IN_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_LINE_END = re.compile(rb"\r?\n")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its headers as they are written, and its body."""

    headers: Headers
    body: bytes

    def get(self, name: str) -> str:
        """The value of the first header of that name; "" when absent."""
        return header_of(self.headers, name)

    @property
    def content_type(self) -> str:
        """The Content-Type, with its parameters."""
        return self.get("Content-Type")

    @property
    def content_id(self) -> str:
        """The Content-ID without its angle brackets."""
        return self.get("Content-ID").removeprefix("<").removesuffix(">")


def header_of(headers: Headers, name: str) -> str:
    """The value of the first header of that name; "" when absent."""
    lower = name.lower()
    return next((value for key, value in headers if key.lower() == lower), "")


def read_lines(data: bytes, what: str) -> tuple[list[str], bytes]:
    """The lines before the first empty one, and what follows it; no empty line means no body. Raises DocumentError."""
    lines: list[str] = []
    start = 0
    while start < len(data):
        found = _LINE_END.search(data, start)
        end, after = found.span() if found is not None else (len(data), len(data))
        if end == start:
            return lines, data[after:]
        if end - start > MAX_LINE:
            raise DocumentError(f"{what}: a header is too long")
        if len(lines) == MAX_HEADERS:
            raise DocumentError(f"{what}: too many headers")
        try:
            lines.append(data[start:end].decode())
        except UnicodeDecodeError:
            raise DocumentError(f"{what}: a header is not UTF-8") from None
        start = after
    return lines, b""


def read_head(data: bytes, what: str) -> tuple[Headers, bytes]:
    """The headers of a MIME part, unfolded, and its body. Raises DocumentError."""
    lines, body = read_lines(data, what)
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line[0] in " \t" and headers:
            name, value = headers.pop()
            folded = line.strip(" \t")
            value = f"{value} {folded}".strip(" \t")
        else:
            name, colon, value = line.partition(":")
            name, value = name.rstrip(" \t"), value.strip(" \t")
            if not colon or _NAME.fullmatch(name) is None:
                raise DocumentError(f"{what}: a line that is no header")
        if _NOT_IN_VALUE.search(value) is not None:
            raise DocumentError(f"{what}: a control character in a header")
        headers.append((name, value))
    return tuple(headers), body


def write_head(headers: Headers, what: str) -> bytes:
    """The lines of headers and the empty line after them. Raises DocumentError for a header that cannot be one."""
    for name, value in headers:
        if _NAME.fullmatch(name) is None or _NOT_IN_VALUE.search(value) is not None:
            raise DocumentError(f"{what}: a header that cannot be written")
    text = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{text}\r\n".encode("utf-8", "replace")


def build_multipart(parts: Iterable[Part], boundary: str, *, blank_line: bool = False) -> bytes:
    """The body: each part after its boundary, the last boundary after all of them.

    With ``blank_line`` an empty line stands before each boundary but the first, for clients that take the four bytes before
    a boundary for its own; to others it is part of the body. Raises DocumentError when the boundary occurs in a part.
    """
    what = "multipart body"
    delimiter = f"--{_checked(boundary, what)}".encode()
    ending = b"\r\n\r\n" if blank_line else b"\r\n"
    pieces: list[bytes] = []
    for part in parts:
        piece = write_head(part.headers, what) + part.body
        if delimiter in piece:
            raise DocumentError(f"{what}: the boundary occurs in a part")
        pieces += (delimiter, b"\r\n", piece, ending)
    return b"".join((*pieces, delimiter, b"--\r\n"))


def parse_multipart(body: bytes, content_type: str) -> tuple[Part, ...]:
    """The parts of a body whose Content-Type names the boundary. Raises DocumentError."""
    what = "multipart body"
    if len(body) > MAX_BYTES:
        raise DocumentError(f"{what}: the document is too large")
    boundary = re.escape(_checked(parameter(content_type, "boundary"), what).encode())
    pattern = re.compile(rb"(?:\A|\r?\n)--" + boundary + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    parts: list[Part] = []
    start: int | None = None
    for match in pattern.finditer(body):
        if start is not None:
            if len(parts) == MAX_PARTS:
                raise DocumentError(f"{what}: too many parts")
            parts.append(Part(*read_head(_after_line_end(body[start : match.start()]), what)))
        start = match.end()
        if match[1] is not None:
            return tuple(parts)
    raise DocumentError(f"{what}: the last boundary is missing")


def _after_line_end(piece: bytes) -> bytes:
    return piece[2:] if piece[:2] == b"\r\n" else piece[1:]


def parameter(value: str, name: str) -> str:
    """A parameter of a header such as Content-Type, without quotes; "" when absent or not to be read."""
    _, semicolon, rest = value.partition(";")
    if not semicolon:
        return ""
    try:
        return unquote((parse_params(rest).get(name) or "").strip(" \t"))
    except SipParseError:
        return ""


def _checked(boundary: str, what: str) -> str:
    if _BOUNDARY.fullmatch(boundary) is None:
        raise DocumentError(f"{what}: no boundary")
    return boundary
