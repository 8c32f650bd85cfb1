"""Searches by attributes, as clients of Microsoft make them: a value begins with a text, whatever its case.

An entry that says less than it could is found by what it does say: without a first name, by its display name and its
address; without a last name, by the last word of its display name; without a mail address, by its SIP address.

Further addresses are mail and SIP addresses to a value without a scheme: ``tel:``, ``x500:`` and the like have to be named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from parley.addressbook.attributes import Attribute, attribute
from parley.addressbook.entries import Entry
from parley.addressbook.errors import QueryError
from parley.addressbook.numbers.texts import digits_of
from parley.addressbook.searching.documents import MIN_DIGITS, bare_address
from parley.addressbook.searching.folding import phrases
from parley.addressbook.searching.keys import Family, Lookup, Match
from parley.addressbook.searching.queries import MAX_QUERY, Rank, Stage

MAX_CRITERIA: Final = 16
_ADDRESSES: Final = frozenset({"mail", "msRTCSIP-PrimaryUserAddress", "proxyAddresses"})
_IN_WORDS: Final = frozenset(
    {
        "displayName",
        "givenName",
        "sn",
        "mailNickname",
        "title",
        "department",
        "company",
        "physicalDeliveryOfficeName",
        "l",
        "c",
    }
)


@dataclass(frozen=True, slots=True)
class Criterion:
    """An attribute, and what its value begins with."""

    attribute: Attribute
    value: str

    @classmethod
    def of(cls, name: str, value: str) -> Criterion | None:
        """None for an attribute that is not known here, and which nobody has therefore. Raises QueryError."""
        value = value.strip()
        if len(value) > MAX_QUERY:
            raise QueryError(f"the value of {name[:40]} has at most {MAX_QUERY} characters; shorten it")
        known = attribute(name)
        return cls(known, value) if known is not None else None

    def rank(self, entry: Entry) -> Rank | None:
        """EXACT when the value is equal, WORDS when it begins so."""
        wanted = self.forms
        others = self._names_a_scheme
        best: Rank | None = None
        for text in _values(entry, self.attribute.name):
            for form in self._forms_of(text):
                if self.attribute.name in _ADDRESSES and "@" not in form and not others:
                    continue
                if form in wanted:
                    return Rank.EXACT
                if any(form.startswith(value) for value in wanted):
                    best = Rank.WORDS
        return best

    @property
    def forms(self) -> tuple[str, ...]:
        """The value as it is compared; () for one that nothing can begin with."""
        return self._forms_of(self.value)

    @property
    def _names_a_scheme(self) -> bool:
        """Whether addresses without ``@`` fit, which an index does not have."""
        return self.attribute.name == "proxyAddresses" and any(":" in form and "@" not in form for form in self.forms)

    def _forms_of(self, text: str) -> tuple[str, ...]:
        if self.attribute.name in _ADDRESSES:
            address = bare_address(text)
            return (address,) if address else ()
        if self.attribute.numbers is not None:
            digits = digits_of(text.partition(";")[0])
            return (digits,) if len(digits) >= MIN_DIGITS else ()
        return phrases(text)

    def lookups(self) -> tuple[Lookup, ...]:
        """What the entries that fit have in an index; () when an index does not know, and all have to be looked at."""
        forms = self.forms
        if self._names_a_scheme:
            return ()
        if self.attribute.name in _ADDRESSES:
            return (Lookup(Family.ADDRESS, Match.PREFIX, forms),)
        if self.attribute.numbers is not None:
            return (Lookup(Family.NUMBER, Match.PREFIX, forms),)
        if self.attribute.name not in _IN_WORDS:
            return ()
        by_place = zip(*(form.split(" ") for form in forms), strict=False)
        return tuple(Lookup(Family.WORD, Match.PREFIX, tuple(dict.fromkeys(words))) for words in by_place)


def _values(entry: Entry, name: str) -> list[str]:
    known = attribute(name)
    found = known.values(entry) if known is not None else []
    if found:
        return found
    match name:
        case "givenName":
            return [text for text in (entry.display_name, entry.address_text.rpartition("@")[0]) if text]
        case "sn":
            return entry.display_name.split()[-1:]
        case "displayName":
            return [entry.name]
        case "mail":
            return [entry.address_text] if entry.address else []
    return []


@dataclass(frozen=True, slots=True)
class Criteria:
    """Several criteria: all of them hold, or any."""

    criteria: tuple[Criterion, ...]
    every: bool
    impossible: bool
    """Whether nobody can fit."""

    @classmethod
    def all_of(cls, pairs: Iterable[tuple[str, str]]) -> Criteria:
        """All have to hold; pairs without a value are passed over. Raises QueryError."""
        return cls._of(pairs, every=True)

    @classmethod
    def any_of(cls, names: Iterable[str], value: str) -> Criteria:
        """Any of the attributes begins with the value. Raises QueryError."""
        return cls._of(((name, value) for name in names), every=False)

    @classmethod
    def _of(cls, pairs: Iterable[tuple[str, str]], *, every: bool) -> Criteria:
        found = [Criterion.of(name, value) for name, value in dict.fromkeys(pairs) if value.strip()]
        if not found:
            raise QueryError("there is nothing to search for; give a value")
        if len(found) > MAX_CRITERIA:
            raise QueryError(f"a search has at most {MAX_CRITERIA} attributes; leave some out")
        usable = tuple(item for item in found if item is not None and item.forms)
        return cls(usable, every, not usable or (every and len(usable) < len(found)))

    @property
    def text(self) -> str:
        """What it is, for pages."""
        return repr((self.every, [(item.attribute.name, item.value) for item in self.criteria]))

    def rank(self, entry: Entry) -> Rank | None:
        """EXACT when all values that have to hold are equal, WORDS when they begin so."""
        if self.impossible:
            return None
        ranks = [item.rank(entry) for item in self.criteria]
        found = [rank for rank in ranks if rank is not None]
        if not found or (self.every and len(found) < len(ranks)):
            return None
        return max(found) if self.every else min(found)

    def stages(self) -> tuple[Stage, ...]:
        """See `parley.addressbook.searching.queries.Question`."""
        if self.impossible:
            return ()
        everybody = (Lookup(Family.NAME, Match.PREFIX, ("",)),)
        if self.every:
            some = tuple(dict.fromkeys(lookup for item in self.criteria for lookup in item.lookups()))
            any_of: tuple[tuple[Lookup, ...], ...] = (some or everybody,)
        else:
            any_of = tuple(item.lookups() for item in self.criteria)
            if not all(any_of):
                any_of = (everybody,)
        return tuple(Stage(rank, any_of) for rank in (Rank.EXACT, Rank.WORDS))
