"""Header names and the splitting of values (RFC 3261 sections 7.3 and 20)."""

from __future__ import annotations

import re

from parley.sip.errors import SipParseError

COMPACT: dict[str, str] = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""Compact forms (IANA registry) and the long names they stand for, in lower case."""

_LONG = """
Via From To Call-ID CSeq Contact Max-Forwards Content-Length Content-Type Route Record-Route Expires Supported
Require Proxy-Require Allow Accept User-Agent Server Event Subscription-State Authorization Proxy-
Authorization WWW-Authenticate Proxy-Authenticate Authentication-Info Path Service-Route Reason Refer-To
Referred-By Replaces Session-Expires Min-SE Min-Expires Retry-After Date Timestamp Subject Organization
Priority Allow-Events P-Asserted-Identity P-Preferred-Identity Privacy Traceparent X-Traceparent Warning
Unsupported Accept-Encoding Accept-Language Content-Encoding Content-Disposition RSeq RAck Flow-Timer SIP-ETag
SIP-If-Match ms-keep-alive Max-Breadth History-Info
"""

# Names as they are often written are known from the start, so that junk cannot crowd them out of the cache.
_CANONICAL: dict[str, str] = {
    **COMPACT,
    **{short.upper(): long for short, long in COMPACT.items()},
    **{name: name.lower() for name in _LONG.split()},
    **{name.lower(): name.lower() for name in _LONG.split()},
}
_CACHE_LIMIT = 2048
_CACHE_NAME = 64
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")


def is_token(text: str) -> bool:
    """Whether text is a token of RFC 3261 section 25.1."""
    return bool(text) and _TOKEN.issuperset(text)


def canonical_name(name: str) -> str:
    """The long name in lower case: ``Via``, ``v`` and ``VIA `` are all ``via``."""
    known = _CANONICAL.get(name)
    if known is None:
        lower = name.strip().lower()
        known = COMPACT.get(lower, lower)
        if len(_CANONICAL) < _CACHE_LIMIT and len(name) <= _CACHE_NAME and name[:1] not in " \t" and is_token(lower):
            _CANONICAL[name] = known
    return known


def known_names() -> dict[str, str]:
    """Names seen before, as written, and their canonical forms: tokens, perhaps with blanks after them. Only for reading."""
    return _CANONICAL


def unfold(value: str) -> str:
    """A value on one line: each fold is one blank (RFC 3261 section 7.3.1); blanks around it are gone."""
    if "\n" in value or "\r" in value:
        value = " ".join(part.strip(" \t\r") for part in value.split("\n"))
    return value.strip(" \t")


def header_line(name: str, value: str) -> str:
    """A header line. Raises SipParseError 400 for a line end that does not begin a fold: it would begin another header."""
    if "\n" in value or "\r" in value:
        first, *folds = value.split("\r\n")
        if any(not part.startswith((" ", "\t")) for part in folds) or any("\r" in p or "\n" in p for p in (first, *folds)):
            raise SipParseError(400, "Line End in Header")
    if name not in _CANONICAL and ("\n" in name or "\r" in name or ":" in name or not name):
        raise SipParseError(400, "Bad Header Name")
    return f"{name}: {value}"


# Possessive, so that no input makes it try again; a quote or bracket that is not closed takes all that follows.
_VALUE = re.compile(r'(?:[^,"<]++|"(?:[^"\\]++|\\.)*+"|<[^>]*+>|["<].*+)*+', re.DOTALL)


def split_comma(value: str) -> list[str]:
    """The values of a comma-separated list; commas in quotes and angle brackets do not separate."""
    if "," not in value:
        return [value] if value else []
    if '"' not in value and "<" not in value:
        return [part for raw in value.split(",") if (part := raw.strip(" \t"))]
    parts: list[str] = []
    at = 0
    while at <= len(value):
        found = _VALUE.match(value, at)
        if found is None:  # it matches the empty text too
            break
        part = found.group().strip(" \t")
        if part:
            parts.append(part)
        at = found.end() + 1
    return parts
