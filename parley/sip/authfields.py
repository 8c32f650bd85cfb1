"""Parameters of Authorization headers, whatever the scheme: ``name=value, name="quoted value"`` (RFC 3261 section 25.1)."""

from __future__ import annotations

import re

from parley.sip.errors import SipParseError

_PARAMETER = re.compile(r'[ \t,]*([A-Za-z0-9*_.-]{1,32})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_ESCAPED = re.compile(r"\\(.)")


def auth_fields(value: str, at: int, scheme: str) -> dict[str, str]:
    """Parameters by name in lower case, unquoted; ``at``: where they begin. Raises SipParseError 400."""
    fields: dict[str, str] = {}
    end = len(value)
    while at < end:
        found = _PARAMETER.match(value, at)
        if found is None:
            if value[at:].strip(" \t,"):
                raise SipParseError(400, f"Bad {scheme} Credentials")
            break
        name = found[1].lower()
        if name in fields:
            raise SipParseError(400, f"Repeated {scheme} Parameter")
        quoted = found[2]
        if quoted is None:
            fields[name] = found[3]
        else:
            fields[name] = _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted
        at = found.end()
    return fields
