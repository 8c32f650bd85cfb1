"""The numbers of an entry normalised: by the rules of the company first, then by those of its location.

`Normaliser` keeps what it found out for a number, as the same switchboard stands in many entries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from parley.addressbook.entries import Entry
from parley.addressbook.numbers.company_rules import CompanyRules, Outcome
from parley.addressbook.numbers.locations import Location, normalise_at

_REMEMBERED: Final = 65_536


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

    @property
    def form(self) -> str:
        """Another text when numbers may become something else."""
        return f"{bytes(self._company).decode('utf-8', 'replace')}\n{self._location!r}"

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

    def entry(self, entry: Entry) -> Entry:
        """The entry with all numbers normalised anew; those that no rule takes are left without it."""
        location = self._location_of(entry) if self._location_of is not None else None
        numbers = (replace(number, normalised=self.number(number.raw, location).uri) for number in entry.numbers)
        return replace(entry, numbers=tuple(numbers))
