"""Messages in an envelope: Message/CPIM (RFC 3862), with headers of the envelope and one MIME part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.multipart import Headers, header_of, read_head, read_lines, write_head
from parley.sip.errors import SipParseError
from parley.sip.nameaddr import NameAddr, parse_name_addr

CONTENT_TYPE: Final = "message/cpim"
CORE_NS: Final = "urn:ietf:params:cpim-headers:"
MAX_BYTES: Final = 262_144

_WHAT = "CPIM message"
_NAME_ALONE = re.compile("[A-Za-z0-9_-]{1,64}")
_NAME = re.compile("(?:([A-Za-z0-9_-]{1,64})\\.)?([A-Za-z0-9_-]{1,64})")
_NS_VALUE = re.compile("(?:([A-Za-z0-9_-]{1,64})[ \t]*)?<([!-;=?-\\[\\]-~]{1,512})>")
_PARAMS = re.compile('(?:;[^ "\x00-\x1f\x7f]*(?:"[^"\x00-\x1f\x7f]*"[^ "\x00-\x1f\x7f]*)*)?')
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPE = re.compile("\\\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_NOT_PLAIN = re.compile("[\x00-\x08\x0a-\x1f\x7f\\\\]|\\A[ \t]|[ \t]\\Z")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "r": "\r"}
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}
_PREFIXES = {"urn:ietf:params:imdn": "imdn"}


@dataclass(frozen=True, slots=True)
class Header:
    """A header of the envelope; ``namespace`` is "" for those of RFC 3862, ``params`` are as written, such as ;lang=de."""

    name: str
    value: str
    namespace: str = ""
    params: str = ""


@dataclass(frozen=True, slots=True)
class CpimMessage:
    """An envelope with its part: headers, headers of the part, body of the part."""

    headers: tuple[Header, ...]
    content_headers: Headers = ()
    body: bytes = b""

    def get(self, name: str, namespace: str = "") -> str:
        """The value of the first header of that name; "" when absent. Names are compared exactly."""
        return next((found.value for found in self.headers if found.name == name and found.namespace == namespace), "")

    def address(self, name: str) -> NameAddr | None:
        """The address in a header such as From; None when absent or not to be read."""
        try:
            return parse_name_addr(self.get(name))
        except SipParseError:
            return None

    @property
    def content_type(self) -> str:
        """The Content-Type of the part, with its parameters."""
        return header_of(self.content_headers, "Content-Type")


def parse_cpim(data: bytes, max_bytes: int = MAX_BYTES) -> CpimMessage:
    """Reads a message. Raises DocumentError."""
    if len(data) > max_bytes:
        raise DocumentError(f"{_WHAT}: the document is too large")
    lines, rest = read_lines(data, _WHAT)
    headers: list[Header] = []
    namespaces = {"": ""}
    for line in lines:
        header = _header(line, namespaces)
        if header is not None:
            headers.append(header)
    if not headers:
        raise DocumentError(f"{_WHAT}: no headers")
    content_headers, body = read_head(rest, _WHAT)
    if not content_headers:
        raise DocumentError(f"{_WHAT}: no MIME part")
    return CpimMessage(tuple(headers), content_headers, body)


def _header(line: str, namespaces: dict[str, str]) -> Header | None:
    """The header of a line; None for NS, which is remembered."""
    written, colon, rest = line.partition(":")
    match = _NAME.fullmatch(written)
    if not colon or match is None:
        raise DocumentError(f"{_WHAT}: a line that is no header")
    if _CONTROL.search(rest) is not None:
        raise DocumentError(f"{_WHAT}: a control character in a header")
    found = _PARAMS.match(rest)
    params = found[0] if found is not None else ""
    value = _unescape(rest[len(params) :].strip(" \t"))
    prefix, name = match[1] or "", match[2]
    if name == "NS" and (not prefix or namespaces.get(prefix) == ""):
        declared = _NS_VALUE.fullmatch(value)
        if declared is None:
            raise DocumentError(f"{_WHAT}: an NS header without a namespace")
        namespaces[declared[1] or ""] = "" if declared[2] == CORE_NS else declared[2]
        return None
    if prefix not in namespaces:
        raise DocumentError(f"{_WHAT}: a prefix without an NS header")
    return Header(name, value, namespaces[prefix], params)


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else _ESCAPED.get(match[2], match[2]), text)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def build_cpim(message: CpimMessage) -> bytes:
    """Writes a message. Raises DocumentError for a header that cannot be written."""
    if not message.headers or not message.content_headers:
        raise DocumentError(f"{_WHAT}: {'no MIME part' if message.headers else 'no headers'}")
    lines: list[str] = []
    prefixes = {"": "", CORE_NS: ""}
    for header in message.headers:
        if header.namespace not in prefixes:
            prefix = _PREFIXES.get(header.namespace, f"n{len(prefixes)}")
            prefixes[header.namespace] = f"{prefix}."
            lines.append(f"NS: {_checked(f'{prefix} <{header.namespace}>', _NS_VALUE)}")
        name = prefixes[header.namespace] + _checked(header.name, _NAME_ALONE)
        if name == "NS":
            raise DocumentError(f"{_WHAT}: a header that cannot be written")
        lines.append(f"{name}:{_checked(header.params, _PARAMS)} {_escape(header.value)}")
    text = "".join(f"{line}\r\n" for line in lines)
    return f"{text}\r\n".encode("utf-8", "replace") + write_head(message.content_headers, _WHAT) + message.body


def _escape(text: str) -> str:
    return _NOT_PLAIN.sub(lambda match: _ESCAPES.get(match[0], f"\\u{ord(match[0]):04x}"), text)


def _checked(text: str, pattern: re.Pattern[str]) -> str:
    if pattern.fullmatch(text) is None:
        raise DocumentError(f"{_WHAT}: a header that cannot be written")
    return text
