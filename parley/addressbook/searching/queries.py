"""What is searched for: free text that a person typed, or values of attributes.

Free text: every term has to begin a word of the entry, or to be within one; a term with an ``@`` has to begin an address;
text of digits is also a number. Attributes: their values have to begin with what is given (`Criteria`). Results of better
rank come first; what fits equally well is sorted by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from parley.addressbook.entries import Entry
from parley.addressbook.errors import QueryError
from parley.addressbook.numbers.texts import digits_of, stripped
from parley.addressbook.searching.documents import MAX_ORDER, MIN_DIGITS, Document, bare_address, document
from parley.addressbook.searching.folding import phrase, spellings, words
from parley.addressbook.searching.keys import Family, Lookup, Match, shortest_infix

MAX_QUERY: Final = 256
MAX_TERMS: Final = 8


class Rank(IntEnum):
    """How well an entry fits."""

    EXACT = 0
    """The query is its name, an address, a number."""
    NAME = 1
    """The display name begins with it."""
    WORDS = 2
    """Every term begins a word, an address or a number."""
    WITHIN = 3
    """Every term is within a word or a number."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What an index is asked for to find all entries of a rank; it may find others beside them."""

    rank: Rank
    any_of: tuple[tuple[Lookup, ...], ...]
    """Members that have all of the lookups of any of these."""


class Question(Protocol):
    """What can be searched for."""

    @property
    def text(self) -> str:
        """What it is, for pages: the same question has the same text."""

    def rank(self, entry: Entry) -> Rank | None:
        """How well an entry fits; None when it does not."""

    def stages(self) -> tuple[Stage, ...]:
        """What to ask an index for, the best rank first."""


@dataclass(frozen=True, slots=True)
class Query:
    """Free text."""

    text: str
    terms: tuple[tuple[str, ...], ...]
    """The spellings of each term."""
    addresses: tuple[str, ...]
    """Beginnings of addresses."""
    phrase: str
    """The whole, as names are written; "" with addresses in it."""
    digits: str
    """When it is (also) a number; "" when it is none."""

    @classmethod
    def parse(cls, text: str) -> Query:
        """Raises QueryError."""
        text = text.strip()
        if not text:
            raise QueryError("there is nothing to search for; type a name, an address or a number")
        if len(text) > MAX_QUERY:
            raise QueryError(f"a search has at most {MAX_QUERY} characters; shorten it")
        terms: dict[tuple[str, ...], None] = {}
        addresses: dict[str, None] = {}
        for piece in text.split():
            if "@" in piece:
                addresses[bare_address(piece)] = None
                continue
            if piece.lower().startswith("sip:"):
                piece = piece[4:]
            for word in zip(*(words(spelling) for spelling in spellings(piece)), strict=False):
                terms[tuple(dict.fromkeys(word))] = None
        digits = _digits(text)
        if not terms and not addresses and not digits:
            raise QueryError("there is nothing to search for but signs; type a name, an address or a number")
        if digits and len(terms) > MAX_TERMS:
            terms.clear()  # a number that is written digit by digit
        if len(terms) + len(addresses) > MAX_TERMS:
            raise QueryError(f"a search has at most {MAX_TERMS} words; leave some out")
        return cls(text, tuple(terms), tuple(addresses), phrase(text) if not addresses else "", digits)

    def rank(self, entry: Entry) -> Rank | None:
        """See `Question`."""
        return self.rank_of(document(entry))

    def rank_of(self, found: Document) -> Rank | None:
        """The same for a document."""
        if any(value in found.exact for value in self._exact()):
            return Rank.EXACT
        if self._has_name() and found.order.startswith(self.phrase):
            return Rank.NAME
        if self._begins(found) or any(number.startswith(form) for form in self._forms() for number in found.numbers):
            return Rank.WORDS
        core = self._core()
        if self._within(found) or (core and any(core in number for number in found.numbers)):
            return Rank.WITHIN
        return None

    def _exact(self) -> list[str]:
        alone = self.addresses if not self.terms and len(self.addresses) == 1 else ()
        return [*([self.phrase] if self.phrase else ()), *alone, *self._forms()]

    def _has_name(self) -> bool:
        return 0 < len(self.phrase) <= MAX_ORDER

    def _begins(self, found: Document) -> bool:
        return (
            bool(self.terms or self.addresses)
            and all(any(word.startswith(term) for word in found.words) for term in self.terms)
            and self._addresses_fit(found)
        )

    def _within(self, found: Document) -> bool:
        fits = all(any(_is_within(term, word) for word in found.words) for term in self.terms)
        return fits and self._has_infix() and self._addresses_fit(found)

    def _has_infix(self) -> bool:
        return any(len(text) >= shortest_infix(Family.WORD) for term in self.terms for text in term)

    def _addresses_fit(self, found: Document) -> bool:
        return all(any(known.startswith(address) for known in found.addresses) for address in self.addresses)

    def _forms(self) -> tuple[str, ...]:
        """How the number may be kept: as it was typed, and without what is dialled before a country code."""
        if self.digits.startswith("00") and len(self.digits) >= MIN_DIGITS + 2:
            return self.digits, self.digits[2:]
        return (self.digits,) if self.digits else ()

    def _core(self) -> str:
        """The number without leading zeros, where it is long enough to be looked for within others."""
        core = self.digits.lstrip("0")
        return core if len(core) >= shortest_infix(Family.NUMBER) else ""

    def stages(self) -> tuple[Stage, ...]:
        """See `Question`."""
        begin = [Lookup(Family.WORD, Match.PREFIX, term) for term in self.terms]
        at = [Lookup(Family.ADDRESS, Match.PREFIX, (address,)) for address in self.addresses]
        beginnings = [tuple(begin + at)] if begin or at else []
        if self.digits:
            beginnings.append((Lookup(Family.NUMBER, Match.PREFIX, self._forms()),))
        inner = [Lookup(Family.WORD, Match.INFIX, term) for term in self.terms]
        withins = [tuple(inner + at)] if self._has_infix() else []
        if self._core():
            withins.append((Lookup(Family.NUMBER, Match.INFIX, (self._core(),)),))
        names = (self.phrase,) if self._has_name() else ()
        exact = tuple(self._exact())
        found = (
            Stage(Rank.EXACT, ((Lookup(Family.EXACT, Match.EQUAL, exact),),) if exact else ()),
            Stage(Rank.NAME, ((Lookup(Family.NAME, Match.PREFIX, names),),) if names else ()),
            Stage(Rank.WORDS, tuple(beginnings)), Stage(Rank.WITHIN, tuple(withins)),
        )  # fmt: skip
        return tuple(stage for stage in found if stage.any_of)


def _digits(text: str) -> str:
    """The digits of a text that is a number; "" for one that is none."""
    number = stripped(text)
    if number[:4].lower() == "tel:":
        number = number[4:]
    digits = digits_of(number)
    return digits if len(digits) >= MIN_DIGITS and number.removeprefix("+") == digits else ""


def _is_within(term: tuple[str, ...], word: str) -> bool:
    shortest = shortest_infix(Family.WORD)
    return any(text in word if len(text) >= shortest else word.startswith(text) for text in term)
