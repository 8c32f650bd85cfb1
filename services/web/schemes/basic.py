"""Basic (RFC 7617) with UTF-8, over TLS alone."""

from __future__ import annotations

import hmac
import unicodedata
from typing import Final

from parley.ntlm.md4 import nt_hash
from services.web.schemes.claims import Claimed

_MAX_PASSWORD: Final = 256


def basic_claim(data: bytes) -> Claimed | None:
    """Of the decoded value of the header; None when it is none."""
    try:
        login, separator, password = data.decode().partition(":")
    except UnicodeDecodeError:
        return None
    if not separator or not login or len(password) > _MAX_PASSWORD:
        return None
    return password_claim("basic", login, password)


def password_claim(scheme: str, login: str, password: str) -> Claimed:
    """Of a login and a password in plain."""
    text = unicodedata.normalize("NFC", password)
    return Claimed(scheme, login, lambda known: hmac.compare_digest(nt_hash(text), known), password)
