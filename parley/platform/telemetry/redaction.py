"""What never appears in a log line: credentials and keys, wherever they stand.

Known are SIP and HTTP header fields (also within the ``repr`` of a message), name=value and name: value in any quoting,
passwords in URLs, and keys of SDP (RFC 4568). A name is enough: values are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "[redacted]"

_HEADERS: Final = re.compile(r"(?i)((?:proxy-)?authorization|authentication-info)(\s*:)(?:[^\r\n\\]|\\(?![rn]))*")
_VALUE: Final = r"""(?:b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'|[^\s,;&]+)"""
_NAME: Final = r"(?:password|passwd|secret|ha1(?:_\w+)?|nt_hash|gssapi-data|master_?key|private_?key)"
_PAIRS: Final = re.compile(rf"""(?i)({_NAME}["']?\s*[=:]\s*){_VALUE}""")
_DIGEST: Final = re.compile(rf"""(?i)\b((?:response|rspauth)(?:["']?\s*=|["']\s*:)\s*){_VALUE}""")
_URLS: Final = re.compile(r"(://[^/\s:@]*:)[^@\s/]+@")
_SDES: Final = re.compile(r"(?i)\b(inline:)[^\s|]+")
_SECRET_KEY: Final = re.compile(rf"(?i).*{_NAME}|(?:proxy[-_])?authorization|authentication[-_]info|cookie")


def redact(text: str) -> str:
    """The text with secrets replaced."""
    if ":" in text:
        text = _HEADERS.sub(rf"\1\2 {REDACTED}", text)
        text = _SDES.sub(rf"\1{REDACTED}", text)
        if "@" in text:
            text = _URLS.sub(rf"\1{REDACTED}@", text)
    elif "=" not in text:
        return text
    text = _DIGEST.sub(rf"\1{REDACTED}", text)
    return _PAIRS.sub(rf"\1{REDACTED}", text)


def redact_field(key: str, value: Any) -> Any:
    """The value of a field with secrets replaced, as JSON can hold it; all of it when the key names a secret."""
    if _SECRET_KEY.fullmatch(key):
        return REDACTED
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): redact_field(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_field("", inner) for inner in value]
    return redact(str(value))
