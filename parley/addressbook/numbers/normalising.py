"""The numbers of an entry normalised: by the rules of the company first, then by those of its location; and what is left.

`Normaliser` keeps what it found out for a number, as the same switchboard stands in many entries. The report lists numbers
that no rule takes with the mail nickname of their entry, as the original does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from parley.addressbook.entries import Entry, NumberKind
from parley.addressbook.numbers.company_rules import CompanyRules, Outcome
from parley.addressbook.numbers.locations import Location, normalise_at

_REMEMBERED: Final = 65_536


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A number that is left as it is."""

    nickname: str
    """The mail nickname of the entry, or what else names it."""
    kind: NumberKind
    number: str
    reason: str

    def __str__(self) -> str:
        return "\t".join((self.nickname, self.kind, self.number, self.reason))


class Normaliser:
    """Normalises numbers."""

    def __init__(
        self,
        company: CompanyRules | None = None,
        location: Location | None = None,
        location_of: Callable[[Entry], Location | None] | None = None,
    ) -> None:
        """``location``: where numbers are written; ``location_of``: the same by entry, None for ``location``."""
        self._company = company if company is not None else CompanyRules()
        self._location = location
        self._location_of = location_of
        self._known: dict[tuple[str, Location | None], Outcome] = {}

    def number(self, raw: str, location: Location | None = None) -> Outcome:
        """What becomes of a number; ``location``: where it is written, if not where most are."""
        place = location if location is not None else self._location
        outcome = self._known.get((raw, place))
        if outcome is None:
            outcome = self._company.normalise(raw) or normalise_at(raw, place)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[raw, place] = outcome
        return outcome

    def entry(self, entry: Entry) -> tuple[Entry, list[Unmatched]]:
        """The entry with all numbers normalised anew, and those of its numbers that no rule takes."""
        location = self._location_of(entry) if self._location_of is not None else None
        left: list[Unmatched] = []
        numbers = []
        for number in entry.numbers:
            outcome = self.number(number.raw, location)
            numbers.append(replace(number, normalised=outcome.uri))
            if not outcome.uri:
                nickname = entry.mail_nickname or entry.address_text or entry.mail or entry.name
                left.append(Unmatched(nickname, number.kind, number.raw, outcome.reason))
        return replace(entry, numbers=tuple(numbers)), left


def report(unmatched: Iterable[Unmatched]) -> str:
    """A text file of the numbers that no rule takes, one a line: nickname, kind, number and reason, parted by tabs."""
    return "".join(f"{item}\r\n" for item in sorted(unmatched, key=lambda item: (item.nickname, item.kind, item.number)))
