"""What numbers look like before and after: characters that only format are dropped, E.164 is recognised."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_FORMATTING: Final = frozenset("()[]-./\\·•‐‑‒–—−⁄")
_NORMALISED: Final = re.compile(r"(?:tel:)?\+([1-9][0-9]{2,14})(?:;ext=([0-9]{1,20}))?", re.IGNORECASE)
_EXTENSION: Final = re.compile(
    r"(?:;ext=|\s*(?:extension|ext|x|durchwahl|dw|poste)[\s.:]*|\s*#)([0-9]{1,20})\s*$", re.IGNORECASE
)


def stripped(raw: str) -> str:
    """A number without blanks and formatting; digits of other scripts and of full width are written 0 to 9."""
    out = []
    for char in unicodedata.normalize("NFKC", raw):
        if char.isdecimal():
            out.append(str(unicodedata.decimal(char)))
        elif not (char.isspace() or char in _FORMATTING or unicodedata.category(char) in ("Cc", "Cf")):
            out.append(char)
    return unicodedata.normalize("NFKC", "".join(out))


def digits_of(text: str) -> str:
    """Only the digits, 0 to 9."""
    if text.isascii():
        return "".join(filter(str.isdigit, text))
    return "".join(str(unicodedata.decimal(char)) for char in text if char.isdecimal())


def split_extension(raw: str) -> tuple[str, str]:
    """The number, and its extension as written in words ("ext. 12", "x12", ";ext=12"); "" for none."""
    text = raw[4:] if raw[:4].lower() == "tel:" else raw
    found = _EXTENSION.search(text)
    return (text[: found.start()], found[1]) if found is not None and found.start() else (text, "")


def uri_of(text: str) -> str:
    """``tel:+...`` of what a rule gave ("+44...", "tel:+44...;ext=12"); "" when it is no number of E.164."""
    found = _NORMALISED.fullmatch(text)
    if found is None:
        return ""
    return tel_uri(found[1], found[2] or "")


def tel_uri(digits: str, extension: str = "") -> str:
    """``tel:+digits``, with ``;ext=`` for an extension."""
    return f"tel:+{digits};ext={extension}" if extension else f"tel:+{digits}"
