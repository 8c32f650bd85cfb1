"""The search index made anew beside the one in use, by one process at a time.

The generation that is made is noted before its first part is written, and put into use in one step, if it is still the one
that is made. So a run that was broken off, by a crash or by whoever asked for it, is seen, and done again by a process that
finds nobody at it; and a run that another has done meanwhile ends. What was in use before is removed at the end; that it is
to be removed is noted until the last of it is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from parley.addressbook.searching.keys import Family, Posting, indexed
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.repeats import Repeats
from services.addressbook.directory.keys import GENERATIONS, PREFIX, generation_key
from services.addressbook.directory.repository import EntryRepository
from services.addressbook.directory.writing import packed_postings
from services.addressbook.leases import Lease, LeaseLost

logger = logging.getLogger(__name__)

_LEASE_S: Final = 15.0
_LOOK_S: Final = 15.0
"""Between two looks at whether a run was broken off."""
_REBUILT: Final = 200
_UNLINKED: Final = 1_000
FORM: Final = 2
"""What postings are made of. One that was made in another form is made anew."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index that is made anew has come."""

    indexed: int
    total: int
    done: bool


class Rebuilder:
    """Makes the index anew while the one in use answers and entries change."""

    def __init__(self, store: Store, entries: EntryRepository, *, lease_s: float = _LEASE_S) -> None:
        self._store = store
        self._entries = entries
        self._add = store.script("services.addressbook.directory", "rebuild.lua")
        self._generations = store.script("services.addressbook.directory", "generations.lua")
        self.lease = Lease(store, PREFIX + "rebuild-lease", seconds=lease_s)
        """Who holds it makes the index anew."""

    async def is_needed(self, *, back: bool = True) -> bool:
        """Whether the index was made in another form, or one was begun and is not in use. Raises StoreError.

        ``back``: a form of a later version counts as well.
        """
        form, building = await self._store.execute("HMGET", GENERATIONS, "form", "building")
        if form is None and not await self._entries.count():
            await self._store.durable("HSETNX", GENERATIONS, "form", FORM)
            return False
        return int(building or 0) != 0 or form is None or int(form) < FORM or (back and int(form) > FORM)

    async def keep(self, *, every_s: float = _LOOK_S) -> None:
        """Does what is left to do, whenever nobody is at it, until cancelled."""
        repeats = Repeats()
        back = True
        while True:
            try:
                await self.look(back=back)
                # Later only those of a version after this one make another form, and it is theirs to keep.
                back = False
                repeats.over()
            except (StoreError, LeaseLost) as error:
                if repeats.is_due(str(error)):
                    logger.info("the search index is looked at later: %s", error)
            await asyncio.sleep(every_s)

    async def look(self, *, back: bool = True) -> None:
        """Does what is left to do, unless somebody is at it; ``back``: see `is_needed`. Raises StoreError, LeaseLost."""
        if not await self.is_needed(back=back) and await self._to_remove() is None:
            return
        async with self.lease.hold() as held:
            if held is None:
                return
            await self._remove_left()
            if await self.is_needed(back=back):  # whoever held it before may just have done it
                async for _ in self.run():
                    pass
                logger.info("the search index of the directory was made anew")

    async def run(self) -> AsyncIterator[Progress]:
        """One at a time: hold the lease. A run that was broken off is begun anew. Raises StoreError, LeaseLost."""
        await self._remove_left()
        new = await self._generations.durable([GENERATIONS], ["begin"])
        after: UUID | None = None
        indexed, total = 0, await self._entries.count()
        while ids := await self._entries.page(after, _REBUILT):
            await self._index(new, ids)
            after = ids[-1]
            indexed += len(ids)
            yield Progress(indexed, max(total, indexed), done=False)
        if not await self._generations.durable([GENERATIONS], ["use", new, FORM]):
            raise LeaseLost
        await self._remove_left()
        yield Progress(indexed, max(total, indexed), done=True)

    async def _index(self, generation: int, ids: Sequence[UUID]) -> None:
        left = list(ids)
        while left:
            calls = []
            for entry in await self._entries.get_many(left):
                if entry is not None and entry.shown:
                    place, found = indexed(entry)
                    content = {"new": place, "add": packed_postings(found)}
                    packed = json.dumps(content, ensure_ascii=False)
                    calls.append(([GENERATIONS], [PREFIX, str(generation), entry.id.hex, str(entry.version), packed]))
            left = []
            for call, reply in zip(calls, await self._add.many(calls), strict=True):
                if isinstance(reply, BaseException):
                    raise reply
                if reply == b"ANOTHER":
                    raise LeaseLost
                if reply == b"CHANGED":
                    left.append(UUID(call[1][2]))

    async def _to_remove(self) -> int | None:
        raw = await self._store.execute("HGET", GENERATIONS, "removing")
        return int(raw) if raw is not None else None

    async def _remove_left(self) -> None:
        generation = await self._to_remove()
        if generation is not None:
            await self._remove(generation)

    async def _remove(self, generation: int) -> None:
        """Removes a generation that nobody reads any more. Searches that are under way find what is there, or begin anew."""
        for family in (Family.WORD, Family.NUMBER):
            key, after = generation_key(generation, family.value), b""
            while True:
                first = b"(" + after if after else b"-"
                found = await self._store.execute("ZRANGE", key, first, "+", "BYLEX", "LIMIT", 0, _UNLINKED)
                if not found:
                    break
                after = found[-1]
                values = {raw.partition(b"\0")[0].decode() for raw in found}
                parts = {gram for value in values for gram in Posting(family, value).grams}
                if parts:
                    keys = [generation_key(generation, f"{family.value}:{gram}") for gram in parts]
                    await self._store.execute("UNLINK", *keys)
        parts_of_all = ["m", *(family.value for family in Family if family is not Family.NAME)]
        await self._store.execute("UNLINK", *(generation_key(generation, part) for part in parts_of_all))
        await self._store.execute("HDEL", GENERATIONS, "removing")
