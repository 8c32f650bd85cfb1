"""What of an entry is looked at by a search: names, addresses, numbers, and what the organisation says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from parley.addressbook.entries import Entry
from parley.addressbook.numbers.texts import digits_of
from parley.addressbook.searching.folding import all_words, fold, phrase

MAX_ORDER: Final = 64
"""Characters of the name by which results are sorted."""
_REMEMBERED: Final = 8_192
MIN_DIGITS: Final = 3
"""Digits of a number, or of a query for one."""


@dataclass(frozen=True, slots=True)
class Document:
    """An entry as it is searched."""

    order: str
    """The display name by which results are sorted."""
    exact: frozenset[str]
    """What makes a query exact when it is equal: the display name, addresses, the mail nickname, digits of numbers."""
    words: frozenset[str]
    addresses: frozenset[str]
    """Without their scheme."""
    numbers: frozenset[str]
    """Digits only: of the number as it is written, and of what it is normalised to."""


def document(entry: Entry) -> Document:
    """How an entry is searched. A search looks at an entry several times, and popular ones are found by many."""
    # What is remembered is found by the whole entry, and the members of a group may be a hundred thousand.
    return _document(replace(entry, membership=None) if entry.membership is not None else entry)


@lru_cache(maxsize=_REMEMBERED)
def _document(entry: Entry) -> Document:
    addresses = frozenset(_addresses(entry))
    numbers = frozenset(_numbers(entry))
    name = phrase(entry.name) or fold(entry.name)
    exact = {name, phrase(entry.mail_nickname), *addresses, *numbers} - {""}
    return Document(name[:MAX_ORDER], frozenset(exact), _words(entry), addresses, numbers)


def _words(entry: Entry) -> frozenset[str]:
    texts = (
        entry.name, entry.given_name, entry.surname, entry.mail_nickname, entry.title, entry.department,
        entry.company, entry.office, entry.city, entry.country, entry.mail.rpartition("@")[0],
        entry.address_text.rpartition("@")[0],
    )  # fmt: skip
    return frozenset(word for text in dict.fromkeys(texts) if text for word in all_words(text))


def _addresses(entry: Entry) -> Iterator[str]:
    for text in (entry.mail, entry.address, *entry.proxies):
        address = bare_address(text)
        if "@" in address:
            yield address


def bare_address(text: str) -> str:
    """A folded address without its scheme."""
    folded = fold(text.strip())
    for scheme in ("sip:", "sips:", "mailto:", "smtp:"):
        if folded.startswith(scheme):
            return folded[len(scheme) :]
    return folded


def _numbers(entry: Entry) -> Iterator[str]:
    for number in entry.numbers:
        for text in (number.raw, number.normalised.partition(";")[0]):
            digits = digits_of(text)
            if len(digits) >= MIN_DIGITS:
                yield digits
