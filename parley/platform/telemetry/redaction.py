"""What never appears in a log line: credentials, in SIP headers and in name=value form."""

from __future__ import annotations

import re
from typing import Final

_HEADERS: Final = re.compile(r"(?im)^((?:proxy-)?authorization|authentication-info)[ \t]*:.*$")
_PAIRS: Final = re.compile(
    r'(?i)\b(response|rspauth|password|passwd|secret|ha1(?:_\w+)?|nt_hash)("?\s*[=:]\s*)("[^"]*"|[^\s,;&]+)'
)


def redact(text: str) -> str:
    """The text with secrets replaced."""
    if ":" in text:
        text = _HEADERS.sub(r"\1: [redacted]", text)
    if "=" in text or ":" in text:
        text = _PAIRS.sub(r"\1\2[redacted]", text)
    return text
