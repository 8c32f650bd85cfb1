"""Texts as they are compared: without case and accents, as words.

"Müller-Lüdenscheidt" has the words muller and ludenscheidt. Letters that have no accent to drop are written as people do who
do not have them: ø is o, ß is ss, æ is ae. Vowels that are also written with another letter behind them are found in both
spellings: Müller by Mueller, and the other way round.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_TEXT: Final = 1_024
"""Characters of a text that are looked at."""
MAX_WORDS: Final = 16
MAX_WORD: Final = 48

_LETTERS: Final = str.maketrans(
    {
        "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ı": "i", "ŧ": "t", "ŋ": "n",
        "ĸ": "k", "ə": "e", "ƒ": "f", "ɨ": "i", "ʉ": "u",
    }
)  # fmt: skip
_SPELLED: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_APOSTROPHES: Final = str.maketrans("", "", "'’ʼ`´‘")
_PLAIN_WORD: Final = re.compile(r"[a-z0-9]+")
_KEPT_MARKS: Final = frozenset("\u3099\u309a")
"""They make other letters of Japanese ones."""


def fold(text: str) -> str:
    """A text without case and accents."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char) or char in _KEPT_MARKS)
    return unicodedata.normalize("NFC", plain.translate(_LETTERS))


def words(text: str) -> list[str]:
    """The words of a text, folded; of very long texts and words only the beginning."""
    # Before, as folding makes a blank of an acute accent that stands alone; and after, as it parts some letters from theirs.
    folded = fold(text[:MAX_TEXT].translate(_APOSTROPHES))
    if folded.isascii():
        return [word[:MAX_WORD] for word in _PLAIN_WORD.findall(folded.translate(_APOSTROPHES))[:MAX_WORDS]]
    found: list[str] = []
    current: list[str] = []
    for char in folded.translate(_APOSTROPHES) + " ":
        if char.isalnum() or unicodedata.category(char)[0] == "M":
            current.append(char)
        elif current:
            found.append("".join(current[:MAX_WORD]))
            current.clear()
            if len(found) == MAX_WORDS:
                break
    return found


def phrase(text: str) -> str:
    """The words of a text with one blank between them."""
    return " ".join(words(text))


def spellings(text: str) -> tuple[str, ...]:
    """The text, and how else it is spelled: one or two texts that are not folded."""
    if text.isascii():
        return (text,)
    other = unicodedata.normalize("NFC", text).casefold().translate(_SPELLED)
    return (text, other) if fold(other) != fold(text) else (text,)


def all_words(text: str) -> frozenset[str]:
    """The words of all spellings of a text."""
    return frozenset(word for spelling in spellings(text) for word in words(spelling))


def phrases(text: str) -> tuple[str, ...]:
    """The phrases of all spellings of a text; none for a text without words."""
    return tuple(dict.fromkeys(filter(None, map(phrase, spellings(text)))))
