"""Who is in a group: `parley.addressbook.groups.Expansion` on what is kept.

Rules are matched against everybody, so that is done once for all rules that are known by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry
from parley.addressbook.group_rules import Rule
from parley.addressbook.groups import Expanded, Expansion
from services.addressbook.directory.repository import EntryRepository

_READ_AT_ONCE: Final = 500
_MATCHED_AT_ONCE: Final = 100
_MATCHES_AT_ONCE: Final = 2_000
"""Entries, and they times rules, between two waits: others get their turn every few milliseconds."""


async def expand(entries: EntryRepository, group: UUID, *, nested: bool, limit: int, reveal: bool = False) -> Expanded:
    """Raises StoreError."""
    expansion = Expansion(group, nested=nested, limit=limit, reveal=reveal)
    while expansion.result is None:
        if expansion.wanted:  # before rules, as these entries may bring more of them
            ids = list(expansion.wanted)
            found: dict[UUID, Entry | None] = {}
            for begin in range(0, len(ids), _READ_AT_ONCE):
                some = ids[begin : begin + _READ_AT_ONCE]
                found |= dict(zip(some, await entries.get_many(some), strict=True))
            expansion.give(found)
            continue
        for id, matches in (await _matches(entries, dict(expansion.rules), limit, reveal=reveal)).items():
            expansion.give_matches(id, matches)
    return expansion.result


async def _matches(
    entries: EntryRepository, rules: Mapping[UUID, Rule], limit: int, *, reveal: bool
) -> dict[UUID, list[Entry]]:
    """Who fits each of some rules; when they are more than the limit, not all of them."""
    found: dict[UUID, list[Entry]] = {id: [] for id in rules}
    after: UUID | None = None
    while rules and (ids := await entries.page(after, _chunk(len(rules)))):
        for entry in await entries.get_many(ids):
            if entry is None or not (entry.shown or reveal):
                continue
            for id, rule in rules.items():
                if rule.fits(entry):
                    found[id].append(entry)
        rules = {id: rule for id, rule in rules.items() if len(found[id]) <= limit}
        after = ids[-1]
    return found


def _chunk(rules: int) -> int:
    return max(1, min(_MATCHED_AT_ONCE, _MATCHES_AT_ONCE // rules))
