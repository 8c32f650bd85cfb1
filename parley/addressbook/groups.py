"""Who is in a group: directly, as clients are shown it, or in all, through nested groups (web-services sheet, section 3).

Nothing here waits: an `Expansion` says which entries it wants next and is given them, so that whoever has the store can ask
for many at once, but not for more than end it. A group that is larger than the limit is an error, not a part of it. Nested
groups that hide their members are shown as members and not looked into, unless whoever asks may see all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from parley.addressbook.dlx import ExpansionResult
from parley.addressbook.entries import Entry, Kind, Membership
from parley.addressbook.errors import RuleError
from parley.addressbook.group_rules import Rule

USUAL_SIZE: Final = 100
LARGEST_SIZE: Final = 1_000
"""Of what clients are shown; who expands for its own use sets its own limit."""
MAX_DEPTH: Final = 32
MAX_GROUPS: Final = 10_000
MAX_SEEN: Final = 200_000
"""Entries that are looked at: also those that are no members, as they are gone or not shown."""
MAX_WANTED: Final = 500
"""Entries that are wanted at once, so that the limit ends an expansion before all members of a large group are read."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """What an expansion gives."""

    result: ExpansionResult
    members: tuple[Entry, ...] = ()
    """Sorted by name."""
    problem: str = ""
    """What is wrong, for people."""


class Expansion:
    """Expands one group.

    As long as ``wanted`` or ``rules`` holds something, `give` and `give_matches` have to be called; then `result` is there.
    """

    def __init__(self, group: UUID, *, nested: bool, limit: int, reveal: bool = False) -> None:
        """``nested``: whether groups within it are expanded; ``limit``: members; ``reveal``: hidden members are told."""
        self._root = group
        self._nested = nested
        self._limit = limit
        self._reveal = reveal
        self._seen: set[UUID] = {group}
        self._members: dict[UUID, Entry] = {}
        self._opened: set[UUID] = set()
        self._level = 0
        self._waiting: list[UUID] = []
        """What else of this level is going to be wanted."""
        self._below: list[UUID] = []
        """The same of the next level."""
        self.wanted: set[UUID] = {group}
        """Entries that are wanted, `MAX_WANTED` at most."""
        self.rules: dict[UUID, Rule] = {}
        """Dynamic groups whose matches are wanted, by the UUID of the group."""
        self.result: Expanded | None = None

    def give(self, entries: Mapping[UUID, Entry | None]) -> None:
        """Entries that were wanted; None, or nothing, for those that are not there."""
        asked, self.wanted = self.wanted, set()
        found = [entry for id in sorted(asked) if (entry := entries.get(id)) is not None]
        if self._level == 0:
            self._open_root(found[0] if found else None)
        else:
            self._take(found)
        self._go_on()

    def give_matches(self, group: UUID, matches: Iterable[Entry]) -> None:
        """The entries that fit the rule of a dynamic group; more than the limit need not be told."""
        if self.rules.pop(group, None) is None:  # what came before it has ended the expansion
            return
        self._take([entry for entry in matches if entry.id != self._root])
        self._go_on()

    def _open_root(self, root: Entry | None) -> None:
        self._level = 1
        if root is None or root.kind is not Kind.GROUP or (not root.shown and not self._reveal):
            self._end(ExpansionResult.NOT_FOUND, "there is no such group")
        elif self._hides(root):
            self._end(ExpansionResult.NOT_ALLOWED, "the members of this group are not shown")
        else:
            self._open(root)

    def _hides(self, group: Entry) -> bool:
        return group.membership is not None and group.membership.hidden and not self._reveal

    def _open(self, group: Entry) -> None:
        """Looks into a group."""
        if group.id in self._opened:
            return
        self._opened.add(group.id)
        if len(self._opened) > MAX_GROUPS:
            self._end(ExpansionResult.TOO_LARGE, f"more than {MAX_GROUPS} groups are nested in it")
            return
        membership = group.membership or Membership()
        if membership.rule:
            try:
                self.rules[group.id] = Rule.parse(membership.rule)
            except RuleError as error:
                self._end(ExpansionResult.DISABLED, f"the rule of {group.name} cannot be used: {error}")
            return
        if not self._nested and len(membership.members) > self._limit:
            self._end_too_large()
            return
        new = [id for id in membership.members if id not in self._seen]
        self._seen.update(new)
        self._below += new
        if len(self._seen) > MAX_SEEN:
            self._end(ExpansionResult.TOO_LARGE, f"more than {MAX_SEEN} entries are nested in it")

    def _take(self, entries: Collection[Entry]) -> None:
        """Members that were found."""
        for entry in entries:
            self._seen.add(entry.id)
            if self.result is not None or entry.id == self._root or not (entry.shown or self._reveal):
                continue
            if self._nested and entry.kind is Kind.GROUP and not self._hides(entry):
                self._open(entry)
            else:
                self._members[entry.id] = entry
            if len(self._members) > self._limit:
                self._end_too_large()

    def _go_on(self) -> None:
        if self.result is not None or self.wanted:
            return
        if not self._waiting and not self.rules:
            if not self._below:
                members = sorted(self._members.values(), key=lambda entry: (entry.name.casefold(), entry.id))
                self._end(ExpansionResult.OK, "", members)
                return
            self._level += 1
            # Groups that lead to nobody are no members: the limit alone would let them be nested without end.
            if self._level > MAX_DEPTH:
                self._end(ExpansionResult.TOO_LARGE, f"groups are nested more than {MAX_DEPTH} deep")
                return
            self._waiting, self._below = self._below, []
        self.wanted.update(self._waiting[-MAX_WANTED:])
        del self._waiting[-MAX_WANTED:]

    def _end_too_large(self) -> None:
        self._end(ExpansionResult.TOO_LARGE, f"the group has more than {self._limit} members")

    def _end(self, result: ExpansionResult, problem: str, members: Collection[Entry] = ()) -> None:
        self.result = Expanded(result, tuple(members), problem)
        for left in (self.wanted, self.rules, self._waiting, self._below):
            left.clear()


Matches = Callable[[Rule], Iterable[Entry]]


def expand(
    group: UUID, lookup: Callable[[UUID], Entry | None], matches: Matches, *, nested: bool, limit: int, reveal: bool = False
) -> Expanded:
    """Expands a group of a directory that is at hand; see `Expansion`."""
    expansion = Expansion(group, nested=nested, limit=limit, reveal=reveal)
    while expansion.result is None:
        while expansion.rules:
            id, rule = next(iter(expansion.rules.items()))
            expansion.give_matches(id, matches(rule))
        if expansion.wanted:
            expansion.give({id: lookup(id) for id in expansion.wanted})
    return expansion.result


def resolved(group: Entry, find: Callable[[str], UUID | None]) -> Entry:
    """The group with those members by UUID that the source named and that are in the directory by now.

    ``find``: the UUID of what a source calls so; None for nobody.
    """
    if group.membership is None or not group.membership.unresolved:
        return group
    members = dict.fromkeys(group.membership.members)
    left = []
    for name in group.membership.unresolved:
        id = find(name)
        if id is None:
            left.append(name)
        elif id != group.id:
            members[id] = None
    return replace(group, membership=replace(group.membership, members=tuple(members), unresolved=tuple(left)))
