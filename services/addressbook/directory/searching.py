"""The search index in Redis: pages of results.

An index has the members in the order of results, and for each family one sorted set of value, NUL and member: a beginning is
a range in it, and so is a value. Within words and numbers is looked for by grams, each a set of values. Every change of an
entry changes its index in the same step, the generation in use and one that is being made (`rebuilding`), so the index is
never behind.

A search reads its stages in one step, and few entries with them. The entries of many are read after that; when one of them
was changed in between, the stage is read once more. Where a stage fits very many, nothing is collected: everybody is looked
at in the order of results, and as so many fit, a page is full soon.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from parley.addressbook.entries import Entry
from parley.addressbook.searching.keys import Family, Lookup, Match, grams, id_of, member, shortest_infix
from parley.addressbook.searching.queries import Question, Rank, Stage
from parley.addressbook.searching.stages import Search
from parley.platform.store.client import Store
from services.addressbook.directory.keys import GENERATIONS, PREFIX, generation_key
from services.addressbook.directory.repository import EntryRepository, readable

_MOST: Final = 10_000
"""Members of a stage that are collected; where there are more, everybody is looked at."""
_CHUNK: Final = 256
_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A question of which only some entries are wanted."""

    question: Question
    keep: Callable[[Entry], bool]
    about: str
    """What is kept, for page tokens."""

    @property
    def text(self) -> str:
        """See `Question`."""
        return f"{self.about}\n{self.question.text}"

    def rank(self, entry: Entry) -> Rank | None:
        """See `Question`."""
        return self.question.rank(entry) if self.keep(entry) else None

    def stages(self) -> tuple[Stage, ...]:
        """See `Question`."""
        return self.question.stages()


class DirectoryIndex:
    """Searches in the directory."""

    def __init__(self, store: Store, entries: EntryRepository) -> None:
        self._store = store
        self._entries = entries
        self._find = store.script("services.addressbook.directory", "find.lua")

    async def search(self, question: Question, limit: int, token: str = "") -> Search:
        """One page. Raises QueryError, StoreError."""
        search = Search(question, limit, token)
        found: dict[Rank, _Found] = {}
        tries = 0
        while (stage := search.stage) is not None:
            if stage.rank not in found:
                found |= await self._look([item for item in question.stages() if item.rank >= stage.rank], limit)
            some = found[stage.rank]
            if some.entries:
                search.give(some.behind(search.after.encode()), last=some.whole)
                found[stage.rank] = replace(some, entries=())
                continue
            async for piece, last in self._pieces(stage, some, search.after, min(_CHUNK, max(32, 2 * limit))):
                entries = await self._entries.get_many([id_of(place) for place in piece])
                if tries < _TRIES and any(_moved(place, entry) for place, entry in zip(piece, entries, strict=True)):
                    tries += 1
                    del found[stage.rank]
                    break  # what was found is read again, behind what was given already
                search.give(list(zip(piece, entries, strict=True)), last=last)
                if search.stage is not stage:
                    break
        return search

    async def _look(self, stages: Sequence[Stage], limit: int) -> dict[Rank, _Found]:
        """What there is of the first of some stages, as many as are likely to fill a page."""
        wanted = [[[_packed(lookup) for lookup in lookups] for lookups in stage.any_of] for stage in stages]
        few = min(_CHUNK, max(32, 2 * limit))
        content = {"most": _MOST, "few": few, "enough": few, "stages": wanted}
        replies = await self._find([GENERATIONS], [PREFIX, json.dumps(content, ensure_ascii=False)])
        return {stage.rank: _found(reply) for stage, reply in zip(stages, replies, strict=False)}

    async def _pieces(self, stage: Stage, some: _Found, after: str, chunk: int) -> AsyncIterator[tuple[list[str], bool]]:
        """The members of a stage in their order, piece by piece, and whether a piece is the last."""
        if some.members is None:
            beginning = _beginning_of(stage)
            async for piece in self._in_order(beginning or "", after, chunk):
                yield piece
            return
        behind = after.encode()
        places = sorted(place for place in some.members if place > behind)
        for begin in range(0, max(1, len(places)), chunk):
            yield [place.decode() for place in places[begin : begin + chunk]], begin + chunk >= len(places)

    async def _in_order(self, beginning: str, after: str, chunk: int) -> AsyncIterator[tuple[list[str], bool]]:
        """All members whose name begins so."""
        key = generation_key(await self.generation(), "m")
        start = beginning.encode()
        last = b"[" + start + b"\xff" if start else b"+"
        behind = after.encode()
        while True:
            first = b"(" + behind if behind > start else b"[" + start if start else b"-"
            places = await self._store.execute("ZRANGE", key, first, last, "BYLEX", "LIMIT", 0, chunk)
            whole = len(places) < chunk
            if whole and (now := generation_key(await self.generation(), "m")) != key:
                key = now  # it was made anew meanwhile, and the one before is gone
                continue
            yield [place.decode() for place in places], whole
            if whole:
                return
            behind = places[-1]

    async def generation(self) -> int:
        """The one in use. Raises StoreError."""
        return int(await self._store.execute("HGET", GENERATIONS, "current") or 1)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found of a stage."""

    entries: tuple[tuple[bytes, Entry | None], ...] = ()
    """Members in their order with their entries, read in one step."""
    whole: bool = False
    """Whether there are no others."""
    members: list[bytes] | None = None
    """All of them, in no order; None when they are too many, and everybody is looked at."""

    def behind(self, after: bytes) -> list[tuple[str, Entry | None]]:
        """Those behind a member."""
        return [(place.decode(), entry) for place, entry in self.entries if place > after]


def _found(reply: list[bytes]) -> _Found:
    kind, rest = reply[0], reply[1:]
    if kind in (b"whole", b"part"):
        pairs = sorted(zip(rest[::2], rest[1::2], strict=True))
        entries = tuple((place, readable(place, raw)) for place, raw in pairs)
        return _Found(entries, kind == b"whole", [] if kind == b"whole" else None)
    return _Found(members=rest if kind == b"members" else None)


def _moved(place: str, entry: Entry | None) -> bool:
    return entry is not None and member(entry) != place


def _beginning_of(stage: Stage) -> str | None:
    """What the names begin with when a stage asks for nothing else; None when it does."""
    if len(stage.any_of) == 1 and len(stage.any_of[0]) == 1:
        lookup = stage.any_of[0][0]
        if lookup.family is Family.NAME and len(lookup.values) == 1:
            return lookup.values[0]
    return None


def _packed(lookup: Lookup) -> dict[str, object]:
    parts: list[list[str]] = []
    if lookup.match is Match.INFIX:
        shortest = shortest_infix(lookup.family)
        parts = [list(grams(lookup.family, value)) if len(value) >= shortest else [] for value in lookup.values]
    return {"family": lookup.family.value, "match": lookup.match.value, "values": lookup.values, "grams": parts}
