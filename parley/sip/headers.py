"""Header names and the splitting of values (RFC 3261 sections 7.3 and 20)."""

from __future__ import annotations

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

_CANONICAL: dict[str, str] = dict(COMPACT)
_CACHE_LIMIT = 2048
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
        if len(_CANONICAL) < _CACHE_LIMIT and is_token(lower):
            _CANONICAL[name] = known
    return known


def known_name(name: str) -> str | None:
    """The canonical form of a name that was seen before and is a token; None when it has to be looked at."""
    return _CANONICAL.get(name)


def unfold(value: str) -> str:
    """A value on one line: each fold is one blank (RFC 3261 section 7.3.1); blanks around it are gone."""
    if "\n" in value or "\r" in value:
        value = " ".join(part.strip(" \t\r") for part in value.split("\n"))
    return value.strip(" \t")


def split_comma(value: str) -> list[str]:
    """The values of a comma-separated list; commas in quotes and angle brackets do not separate."""
    if "," not in value:
        return [value] if value else []
    if '"' not in value and "<" not in value:
        return [part for raw in value.split(",") if (part := raw.strip(" \t"))]
    parts: list[str] = []
    start = 0
    quoted = False
    depth = False
    index = 0
    length = len(value)
    while index < length:
        char = value[index]
        if quoted:
            if char == "\\":
                index += 1
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char == "<":
            depth = True
        elif char == ">":
            depth = False
        elif char == "," and not depth:
            part = value[start:index].strip(" \t")
            if part:
                parts.append(part)
            start = index + 1
        index += 1
    part = value[start:].strip(" \t")
    if part:
        parts.append(part)
    return parts
