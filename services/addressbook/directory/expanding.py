"""Who is in a group: `parley.addressbook.groups.Expansion` on what is kept."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry
from parley.addressbook.group_rules import Rule
from parley.addressbook.groups import Expanded, Expansion
from services.addressbook.directory.repository import EntryRepository

_READ_AT_ONCE: Final = 500


async def expand(entries: EntryRepository, group: UUID, *, nested: bool, limit: int, reveal: bool = False) -> Expanded:
    """Raises StoreError."""
    expansion = Expansion(group, nested=nested, limit=limit, reveal=reveal)
    while expansion.result is None:
        for id, rule in list(expansion.rules.items()):
            expansion.give_matches(id, await _matches(entries, rule, limit, reveal=reveal))
        if expansion.wanted:
            ids = list(expansion.wanted)
            found: dict[UUID, Entry | None] = {}
            for begin in range(0, len(ids), _READ_AT_ONCE):
                some = ids[begin : begin + _READ_AT_ONCE]
                found |= dict(zip(some, await entries.get_many(some), strict=True))
            expansion.give(found)
    return expansion.result


async def _matches(entries: EntryRepository, rule: Rule, limit: int, *, reveal: bool) -> list[Entry]:
    """Who fits a rule; when they are more than the limit, one more than that."""
    found: list[Entry] = []
    async for entry in entries.export():
        if (entry.shown or reveal) and rule.fits(entry):
            found.append(entry)
            if len(found) > limit + 1:  # the group itself may be one of them
                break
    return found
