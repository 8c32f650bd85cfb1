"""Takes over what a source says: compares it with the directory, writes what is different, and keeps a tally.

Groups are written after everybody else, as who is in them is told by names. What cannot be written because another entry is
known by the same address, mail or nickname is tried once more at the end, when that entry may have changed as well. An entry
of a directory server is changed by that server alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from uuid import UUID

from parley.addressbook.differences import Change, Difference, FieldChange, difference
from parley.addressbook.entries import Entry, Kind
from parley.addressbook.errors import EntryError
from parley.addressbook.numbers.normalising import Normaliser
from parley.platform.store.errors import StoreError
from services.addressbook.directory.keys import lookups_of
from services.addressbook.directory.repository import EntryRepository, Write
from services.addressbook.directory.resolving import with_members, without_photo_change
from services.addressbook.directory.writing import EntryConflict, LoginTaken, Taken

logger = logging.getLogger(__name__)

_WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Between tries while the store does not answer."""
MAX_PROBLEMS: Final = 200
MAX_DIFFERENCES: Final = 1_000
BATCH: Final = 1_024
"""Entries that are written together: each batch waits for the disk once."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a source."""

    entry: Entry
    line: int = 0
    """Of its file."""
    logins: tuple[str, ...] | None = None
    credentials: bytes | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What could not be taken."""

    text: str
    line: int = 0
    column: str = ""
    key: str = ""


@dataclass(slots=True)
class Tally:
    """What came of it so far."""

    read: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    bad: int = 0
    problems: list[Trouble] = field(default_factory=list)
    """The first of them."""
    differences: list[str] = field(default_factory=list)
    """Of a dry run, the first of them."""

    def trouble(self, *troubles: Trouble) -> None:
        """Counts a row or an entry that could not be taken, and why."""
        self.bad += 1
        self.problems += troubles[: MAX_PROBLEMS - len(self.problems)]

    def differs(self, found: Difference) -> None:
        """Notes what a dry run would change."""
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(str(found))


class Applier:
    """One run."""

    def __init__(
        self, entries: EntryRepository, normaliser: Normaliser, source: str, tally: Tally, *, dry_run: bool, adopts: bool
    ) -> None:
        """``adopts``: whether entries of other sources are taken over that are no directory servers, and never were."""
        self._entries = entries
        self._normaliser = normaliser
        self._source = source
        self._tally = tally
        self._dry_run = dry_run
        self._adopts = adopts
        self._people: list[Item] = []
        self._groups: dict[UUID, Item] = {}
        self._again: list[Item] = []
        self._known: dict[str, UUID] = {}
        self.seen: set[UUID] = set()
        """Everybody the source has."""
        self.refused: set[UUID] = set()
        """Those who could not be written for what others are, which may change."""

    async def add(self, items: Sequence[Item]) -> None:
        """Takes what the source has; groups, and what makes no whole batch, wait for `finish`. Raises StoreError."""
        for item in items:
            self._tally.read += 1
            self.seen.add(item.entry.id)
            for _, value in lookups_of(item.entry):
                self._known.setdefault(value.casefold().removeprefix("sip:"), item.entry.id)
                self._known.setdefault(value.casefold(), item.entry.id)
            if item.entry.kind is Kind.GROUP:
                self._groups[item.entry.id] = item
            else:
                self._people.append(item)
        while len(self._people) >= BATCH:
            some, self._people = self._people[:BATCH], self._people[BATCH:]
            await self._apply(some, last=False)

    def known(self, name: str) -> UUID | None:
        """Whom the source calls so."""
        return self._known.get(name.strip().casefold())

    def group(self, id: UUID) -> Entry | None:
        """A group that waits."""
        item = self._groups.get(id)
        return item.entry if item is not None else None

    def put_group(self, group: Entry) -> None:
        """Has a group written in the end, in the place of one that waits."""
        waits = self._groups.get(group.id)
        self._groups[group.id] = Item(group, waits.line if waits is not None else 0)
        self.seen.add(group.id)

    async def finish(self) -> None:
        """Writes the groups, and what had to wait. Raises StoreError."""
        people, self._people = self._people, []
        await self._apply(people, last=False)
        await self._apply_again()
        groups, self._groups = list(self._groups.values()), {}
        for begin in range(0, len(groups), BATCH):
            some = [
                replace(item, entry=await with_members(self._entries, item.entry, self._source, self._known))
                for item in groups[begin : begin + BATCH]
            ]
            await self._apply(some, last=False)
        await self._apply_again()

    async def remove(self, ids: Sequence[UUID]) -> None:
        """Removes entries of the source, and forgets what waits of them. Raises StoreError."""
        self._forget(set(ids))
        for begin in range(0, len(ids), BATCH):
            some = ids[begin : begin + BATCH]
            befores = await self._entries.as_kept(some)
            writes = [
                (Write(id, None, before.version), before)
                for id, before in zip(some, befores, strict=True)
                if before is not None and before.origin.source == self._source
            ]
            self._tally.removed += len(writes)
            if self._dry_run:
                for _, before in writes:
                    found = difference(before, None)
                    if found is not None:
                        self._tally.differs(found)
                continue
            for outcome in await self._entries.write_many([write for write, _ in writes], [before for _, before in writes]):
                if isinstance(outcome, StoreError):
                    raise outcome
                if isinstance(outcome, BaseException):  # changed by somebody else meanwhile; the next run sees to it
                    self._tally.removed -= 1

    def _forget(self, gone: set[UUID]) -> None:
        self._people = [item for item in self._people if item.entry.id not in gone]
        self._again = [item for item in self._again if item.entry.id not in gone]
        self._groups = {id: item for id, item in self._groups.items() if id not in gone}
        self._known = {name: id for name, id in self._known.items() if id not in gone}

    async def _apply_again(self) -> None:
        items, self._again = self._again, []
        for item in items:
            await self._apply([item], last=True)

    async def _apply(self, items: Sequence[Item], *, last: bool) -> None:
        """Writes some; again, later each time, while the store does not answer. Raises StoreError in the end."""
        left = list(items)
        for wait in (*_WAITS_S, None):
            try:
                left, problem = await self._apply_once(left, last=last)
            except StoreError as error:
                problem = error
            if problem is None:
                return
            if wait is None:
                raise problem
            logger.info("%d entries of %s are written again in %.0f s: %s", len(left), self._source, wait, problem)
            await asyncio.sleep(wait)

    async def _apply_once(self, items: Sequence[Item], *, last: bool) -> tuple[list[Item], StoreError | None]:
        """Writes some; those that have to be written again, and why. Raises StoreError when nothing was written."""
        befores = await self._entries.as_kept([item.entry.id for item in items])
        wanted: list[tuple[Item, Write, Entry | None]] = []
        told: list[Callable[[], None]] = []
        logins = await self._entries.other_logins([(item.entry, item.logins) for item in items])
        for item, before, had in zip(items, befores, logins, strict=True):
            if before is not None and not self._may_change(before):
                text = f"{before.name} comes from {before.origin.source}, which alone changes it"
                trouble = Trouble(text, item.line, key=item.entry.origin.key)
                told.append(partial(self._refuse, item, trouble))
                continue
            entry = self._normaliser.entry(without_photo_change(item.entry, before))
            entry = replace(entry, version=before.version if before is not None else 0)
            # Of somebody new all is different; only a dry run wants to know how.
            found = difference(before, entry) if before is not None or self._dry_run else None
            if before is not None and had is not None:
                found = _with_logins(found, entry, had, item.logins or ())
            if before is not None and found is None and item.credentials is None:
                told.append(self._count_unchanged)
            elif self._dry_run:
                told.append(partial(self._count, before))
                if found is not None:
                    told.append(partial(self._tally.differs, found))
            else:
                wanted.append((item, Write(entry.id, entry, None, item.logins, item.credentials), before))
        outcomes = await self._entries.write_many([write for _, write, _ in wanted], [before for _, _, before in wanted])
        owners = await self._owners(outcomes) if last else {}
        for tell in told:
            tell()
        left: list[Item] = []
        problem: StoreError | None = None
        for (item, _, before), outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, StoreError):
                left.append(item)
                problem = outcome
            elif isinstance(outcome, Taken | LoginTaken | EntryConflict) and not last:
                self._again.append(item)
            elif isinstance(outcome, BaseException):
                self._refuse(item, _trouble_of(outcome, item, owners))
            else:
                self._count(before)
        return left, problem

    async def _owners(self, outcomes: Sequence[object]) -> dict[UUID, Entry]:
        """Who has what others want to be known by. Raises StoreError."""
        ids = list({outcome.owner for outcome in outcomes if isinstance(outcome, Taken)})
        return {entry.id: entry for entry in await self._entries.get_many(ids) if entry is not None}

    def _may_change(self, before: Entry) -> bool:
        source = before.origin.source
        if source == self._source or source in self._entries.servers:
            return source == self._source
        # Nobody else would ever change what came from a server that was taken out of the configuration.
        return self._adopts or source.startswith("ldap:")

    def _refuse(self, item: Item, trouble: Trouble) -> None:
        self.refused.add(item.entry.id)
        self._tally.trouble(trouble)

    def _count_unchanged(self) -> None:
        self._tally.unchanged += 1

    def _count(self, before: Entry | None) -> None:
        if before is None:
            self._tally.added += 1
        else:
            self._tally.changed += 1


def _with_logins(found: Difference | None, entry: Entry, had: Sequence[str], has: Sequence[str]) -> Difference:
    """A difference, or one where there is none otherwise, with what becomes of the login names of the user."""
    removed, added = (tuple(name for name in one if name not in other) for one, other in ((had, has), (has, had)))
    change = FieldChange("logins", removed or tuple(had), added or tuple(has))
    return Difference(Change.CHANGED, entry.id, entry.name, (*(found.fields if found is not None else ()), change))


def _trouble_of(problem: BaseException, item: Item, owners: Mapping[UUID, Entry]) -> Trouble:
    column = problem.field if isinstance(problem, EntryError) else ""
    text = str(problem) or "it is being changed by somebody else; try again"
    owner = owners.get(problem.owner) if isinstance(problem, Taken) else None
    if isinstance(problem, Taken) and owner is not None:
        text = (
            f"{owner.name} ({owner.id}, {owner.origin.source}) has this {problem.what} already; remove or "
            "change that entry first"
        )
    return Trouble(text, item.line, column, item.entry.origin.key)
