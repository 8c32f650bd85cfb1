"""Addresses in headers: ``"Display" <uri>;param`` or a bare URI (RFC 3261 section 20.10).

In the bare form parameters belong to the header, not to the URI; a bare URI must not hold a comma, semicolon or
question mark.
"""

from __future__ import annotations

import re

from parley.sip.errors import SipParseError
from parley.sip.params import Params, parse_params, quote, unquote
from parley.sip.uri import Uri, shared_uri

_NOT_BARE = re.compile('[,? \\t<>"]')


class NameAddr:
    """The value of From, To, Contact, Route and the like."""

    __slots__ = ("_uri", "display_name", "params", "uri_text")

    def __init__(self, display_name: str, uri_text: str, params: Params | None = None) -> None:
        self.display_name: str = display_name
        """Without quotes, unescaped; "" when absent."""
        self.uri_text: str = uri_text
        """As written between the angle brackets."""
        self.params: Params = params if params is not None else Params()
        self._uri: Uri | None = None

    @property
    def uri(self) -> Uri:
        """The URI, parsed when first asked for; copy it before changing it. Raises SipParseError."""
        if self._uri is None:
            self._uri = shared_uri(self.uri_text)
        return self._uri

    @property
    def tag(self) -> str | None:
        """The tag parameter."""
        return self.params.get("tag")

    def __str__(self) -> str:
        name = f"{quote(self.display_name)} " if self.display_name else ""
        return f"{name}<{self.uri_text}>{self.params}"

    def __repr__(self) -> str:
        return f"NameAddr({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NameAddr) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def parse_name_addr(text: str) -> NameAddr:
    """Reads one value. Raises SipParseError 400; the URI inside is read only when asked for."""
    text = text.strip(" \t")
    if text[:1] == '"':
        end = _end_of_quoted(text)
        name = unquote(text[: end + 1])
        rest = text[end + 1 :].lstrip(" \t")
        if rest[:1] != "<":
            raise SipParseError(400, "Display Name Without Address")
    else:
        start = text.find("<")
        if start < 0:
            return _parse_bare(text)
        name = text[:start].strip(" \t")
        if '"' in name or ";" in name or ":" in name or "," in name:
            raise SipParseError(400, "Bad Display Name")
        rest = text[start:]
    uri_text, bracket, after = rest[1:].partition(">")
    if not bracket:
        raise SipParseError(400, "Unterminated Address")
    if not uri_text:
        raise SipParseError(400, "Empty Address")
    if " " in uri_text or "\t" in uri_text:
        raise SipParseError(400, "Blank in Address")
    after = after.strip(" \t")
    if not after:
        return NameAddr(name, uri_text)
    if after[0] != ";":
        raise SipParseError(400, "Bad Address Parameters")
    return NameAddr(name, uri_text, parse_params(after[1:], "Address Parameter"))


def _parse_bare(text: str) -> NameAddr:
    if not text:
        raise SipParseError(400, "Empty Address")
    uri_text, semicolon, params = text.partition(";")
    uri_text = uri_text.rstrip(" \t")
    if ":" not in uri_text or _NOT_BARE.search(uri_text) is not None:
        raise SipParseError(400, "Bad Address")
    return NameAddr("", uri_text, parse_params(params, "Address Parameter") if semicolon else None)


def _end_of_quoted(text: str) -> int:
    end = text.find('"', 1)
    if end > 0 and "\\" not in text[:end]:
        return end
    index = 1
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == '"':
            return index
        index += 1
    raise SipParseError(400, "Unterminated Display Name")
