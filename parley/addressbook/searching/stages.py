"""A search in an index, page by page, without I/O.

`Search` says which stage of its question it is at and behind which member it goes on; whoever has the index gives it the
next members of that stage, in their order, with the entries they stand for. The search looks at each entry itself, so an
index may give too much, or what was changed meanwhile, but never too little. A page ends with a token for the next one.

What one page looks at is bounded: when that many entries were looked at without filling it, it is given as it is, with a
token to go on.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry
from parley.addressbook.errors import QueryError
from parley.addressbook.searching.keys import id_of, member
from parley.addressbook.searching.queries import Question, Rank, Stage

MAX_PAGE: Final = 1_000
MAX_LOOKED_AT: Final = 20_000
MAX_TOKEN: Final = 1_024
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ends: results behind it are of a worse rank, or of this one and behind the member."""

    rank: Rank
    member: str

    def token(self, question: Question) -> str:
        """For whoever wants the next page."""
        content = json.dumps([_VERSION, _mark(question), self.rank.value, self.member], ensure_ascii=False)
        return urlsafe_b64encode(content.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, token: str, question: Question) -> Position | None:
        """None for no token. Raises QueryError for one that was not made for this question."""
        if not token:
            return None
        try:
            raw = token.encode("ascii") if len(token) <= MAX_TOKEN else b""
            version, mark, rank, place = json.loads(urlsafe_b64decode(raw + b"=" * (-len(raw) % 4)))
            found = cls(Rank(rank), place)
            id_of(place)
            place.encode()  # no member holds what UTF-8 cannot
        except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
            raise QueryError("the page token cannot be read; begin with the first page") from None
        if version != _VERSION or mark != _mark(question):
            raise QueryError("the page token is of another search; begin with the first page")
        return found


def _mark(question: Question) -> str:
    return hashlib.sha256(question.text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that fits."""

    rank: Rank
    member: str
    entry: Entry


class Search:
    """One page of a search."""

    def __init__(self, question: Question, limit: int, token: str = "") -> None:
        """``limit``: entries of a page. Raises QueryError."""
        if not 0 < limit <= MAX_PAGE:
            raise QueryError(f"a page has 1 to {MAX_PAGE} entries")
        position = Position.parse(token, question)
        self._question = question
        self._limit = limit
        self._stages = [stage for stage in question.stages() if position is None or stage.rank >= position.rank]
        self._after = position.member if position is not None and self._begins_at(position) else ""
        self._looked_at = 0
        self.found: list[Found] = []
        """The page, best first."""
        self.token = ""
        """For the next page; "" when there is none."""

    def _begins_at(self, position: Position) -> bool:
        return bool(self._stages) and self._stages[0].rank is position.rank

    @property
    def stage(self) -> Stage | None:
        """What is wanted next; None when the page is complete."""
        return self._stages[0] if self._stages else None

    @property
    def after(self) -> str:
        """Wanted are members of the stage that sort behind this one, by the bytes of their UTF-8; "" for all."""
        return self._after

    @property
    def entries(self) -> list[Entry]:
        """The entries of the page."""
        return [found.entry for found in self.found]

    def give(self, candidates: Sequence[tuple[str, Entry | None]], *, last: bool) -> None:
        """Members of the stage in their order, with their entries; None for an entry that is gone.

        ``last``: whether the stage has no more members behind them.
        """
        stage = self._stages[0]
        for place, entry in candidates:
            self._looked_at += 1
            # An entry whose name was changed meanwhile stands at another place, and is found there.
            if entry is not None and entry.shown and member(entry) == place and self._question.rank(entry) is stage.rank:
                if len(self.found) == self._limit:
                    self._end(self.found[-1].rank, self.found[-1].member)
                    return
                self.found.append(Found(stage.rank, place, entry))
            self._after = place
        if last:
            self._stages.pop(0)
            self._after = ""
        if self._stages and self._looked_at >= MAX_LOOKED_AT:
            self._end(self._stages[0].rank, self._after or _BEFORE_ALL)

    def _end(self, rank: Rank, place: str) -> None:
        self.token = Position(rank, place).token(self._question)
        self._stages.clear()


_BEFORE_ALL: Final = "\0" + UUID(int=0).hex
"""A member that sorts before all others."""


def sorted_results(question: Question, entries: Iterable[Entry]) -> list[Found]:
    """All entries that fit, best first: a search without an index, for what is small or already chosen."""
    found = []
    for entry in entries:
        rank = question.rank(entry) if entry.shown else None
        if rank is not None:
            found.append(Found(rank, member(entry), entry))
    return sorted(found, key=lambda item: (item.rank, item.member))
