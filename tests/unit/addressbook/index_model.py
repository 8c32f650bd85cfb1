"""An index in memory, as simple as can be: it keeps postings, and answers stages of a search from them alone."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from parley.addressbook.entries import Entry
from parley.addressbook.searching.keys import Family, Lookup, Match, Posting, change, grams, id_of, shortest_infix
from parley.addressbook.searching.queries import Question
from parley.addressbook.searching.stages import Search


class IndexModel:
    """Keeps entries and postings."""

    def __init__(self) -> None:
        self.entries: dict[UUID, Entry] = {}
        self.members: set[str] = set()
        self.postings: dict[Posting, set[str]] = defaultdict(set)

    def put(self, entry: Entry) -> None:
        self._change(self.entries.get(entry.id), entry)
        self.entries[entry.id] = entry

    def remove(self, id: UUID) -> None:
        self._change(self.entries.pop(id), None)

    def _change(self, before: Entry | None, after: Entry | None) -> None:
        found = change(before, after)
        if found is None:
            return
        for posting in found.remove:
            self.postings[posting].remove(found.old_member)
            if not self.postings[posting]:
                del self.postings[posting]
        for posting in found.add:
            assert found.new_member not in self.postings[posting]
            self.postings[posting].add(found.new_member)
        self.members.discard(found.old_member)
        if found.new_member:
            self.members.add(found.new_member)

    def search(self, question: Question, limit: int, token: str = "", chunk: int = 3) -> Search:
        search = Search(question, limit, token)
        while (stage := search.stage) is not None:
            sets = [set.intersection(*map(self._members, lookups)) for lookups in stage.any_of]
            members = sorted(place for place in set().union(*sets) if place > search.after)
            pieces = [members[at : at + chunk] for at in range(0, len(members), chunk)] or [[]]
            for piece in pieces:
                candidates = [(place, self.entries.get(id_of(place))) for place in piece]
                search.give(candidates, last=piece is pieces[-1])
                if search.stage is not stage:
                    break
        return search

    def _members(self, lookup: Lookup) -> set[str]:
        if lookup.family is Family.NAME:
            return {place for place in self.members if place.startswith(lookup.values)}
        found: set[str] = set()
        for value in lookup.values:
            for posting, members in self.postings.items():
                if posting.family is lookup.family and _fits(posting, lookup.match, value):
                    found |= members
        return found


def _fits(posting: Posting, match: Match, value: str) -> bool:
    if match is Match.EQUAL:
        return posting.value == value
    if match is Match.INFIX and len(value) >= shortest_infix(posting.family):
        # By its grams alone, which may find more than what holds the infix.
        return grams(posting.family, value) <= posting.grams
    return posting.value.startswith(value)
