"""Who is meant by a name: a UUID, an address, a mail address, a nickname, or what a source calls its entries."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import UUID

from parley.addressbook.entries import Entry, normal_address
from parley.addressbook.errors import EntryError
from parley.addressbook.groups import resolved
from services.addressbook.directory.keys import BY_ADDRESS, BY_MAIL, BY_NICKNAME, by_source_key
from services.addressbook.directory.repository import EntryRepository


async def ids_of_names(entries: EntryRepository, names: Collection[str], source: str = "") -> dict[str, UUID]:
    """The UUIDs of those that are in the directory. ``source``: whose own names are meant first. Raises StoreError."""
    found: dict[str, UUID] = {}
    lookups = [BY_ADDRESS, BY_MAIL, BY_NICKNAME]
    if source:
        lookups.insert(0, by_source_key(source))
    for lookup in lookups:
        left = [name for name in names if name not in found]
        values = [_value(lookup, name) for name in left]
        for name, id in zip(left, await entries.ids_of(lookup, values), strict=True):
            if id is not None:
                found[name] = id
    return found


def _value(lookup: str, name: str) -> str:
    name = name.strip()
    if lookup == BY_ADDRESS:
        with contextlib.suppress(EntryError):
            return normal_address(name)
    return name.casefold()


async def find(entries: EntryRepository, name: str) -> Entry | None:
    """The entry that is meant by what a person typed. Raises EntryError, StoreError."""
    try:
        id = UUID(name.strip())
    except ValueError:
        pass
    else:
        return await entries.get(id)
    found = await ids_of_names(entries, [name])
    return await entries.get(found[name]) if name in found else None


async def with_members(
    entries: EntryRepository, group: Entry, source: str = "", known: Mapping[str, UUID] | None = None
) -> Entry:
    """The group with the UUIDs of members that its source named. ``known``: names that are about to be in the directory."""
    if group.membership is None or not group.membership.unresolved:
        return group
    known = known or {}
    names = [name for name in group.membership.unresolved if name.casefold() not in known]
    found = await ids_of_names(entries, names, source)
    return resolved(group, lambda name: known.get(name.casefold()) or found.get(name))


def without_photo_change(entry: Entry, before: Entry | None) -> Entry:
    """The entry with the picture that is kept: pictures are changed on their own."""
    return replace(entry, photo=before.photo if before is not None else None)
