"""What an index keeps of entries, and what it is asked for.

An index keeps members, one of each entry that is shown; members sort as results do. A posting leads from a value to members:
from a word to those who have it, from an address, from a number. The values of each family are a vocabulary that the index
can look up by their beginning, and by the grams within them. So infixes need no more room than the vocabulary does, however
many people share a first name.

An index that changes all postings of an entry in one step is never wrong; `change` says what is to be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry
from parley.addressbook.searching.documents import Document, document

_BETWEEN: Final = "\0"
_GRAMS: Final = {"w": 3, "d": 4}


class Family(StrEnum):
    """Which vocabulary."""

    NAME = "n"
    """The members themselves: by the beginning of the name that they are sorted by."""
    EXACT = "x"
    WORD = "w"
    ADDRESS = "a"
    NUMBER = "d"


class Match(StrEnum):
    """How a value is looked for in a vocabulary."""

    EQUAL = "equal"
    PREFIX = "prefix"
    INFIX = "infix"


@dataclass(frozen=True, slots=True)
class Posting:
    """One value that an entry is found by."""

    family: Family
    value: str

    @property
    def grams(self) -> frozenset[str]:
        """What an infix in it is found by; none where infixes are not looked for."""
        return grams(self.family, self.value)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What an index is asked for: members that have any of the values."""

    family: Family
    match: Match
    values: tuple[str, ...]
    """Of an infix, values shorter than `shortest_infix` are beginnings."""


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What becomes of an index when an entry changes."""

    old_member: str
    """"" when there was none."""
    new_member: str
    """"" when there is none any more."""
    remove: frozenset[Posting]
    """From which the old member is taken."""
    add: frozenset[Posting]
    """To which the new member is added."""


def grams(family: Family, value: str) -> frozenset[str]:
    """The parts of a value that an infix is found by: it can be in those values only that have all of its grams."""
    size = _GRAMS.get(family)
    if size is None:
        return frozenset()
    return frozenset(value[at : at + size] for at in range(len(value) - size + 1))


def shortest_infix(family: Family) -> int:
    """Characters that an infix needs at least."""
    return _GRAMS[family]


def member_of(order: str, id: UUID) -> str:
    """How an entry stands in an index. Members sort by name, and then by UUID."""
    return f"{order}{_BETWEEN}{id.hex}"


def id_of(member: str) -> UUID:
    """The UUID in a member. Raises ValueError."""
    return UUID(member.rpartition(_BETWEEN)[2])


def member(entry: Entry) -> str:
    """How an entry stands in an index; "" for one that is not shown."""
    return member_of(document(entry).order, entry.id) if entry.shown else ""


def postings(entry: Entry) -> frozenset[Posting]:
    """What an entry is found by; none for one that is not shown."""
    return _postings(document(entry)) if entry.shown else frozenset()


def indexed(entry: Entry | None) -> tuple[str, frozenset[Posting]]:
    """The member and the postings of an entry; "" and none for one that is not there or not shown."""
    if entry is None or not entry.shown:
        return "", frozenset()
    found = document(entry)
    return member_of(found.order, entry.id), _postings(found)


def _postings(found: Document) -> frozenset[Posting]:
    return frozenset(
        Posting(family, value)
        for family, values in (
            (Family.EXACT, found.exact), (Family.WORD, found.words), (Family.ADDRESS, found.addresses),
            (Family.NUMBER, found.numbers),
        )
        for value in values
    )  # fmt: skip


def change(before: Entry | None, after: Entry | None) -> IndexChange | None:
    """What becomes of an index when one entry becomes the other; None when nothing does."""
    old_member, old = indexed(before)
    new_member, new = indexed(after)
    if old_member == new_member:
        old, new = old - new, new - old
        if not old and not new:
            return None
    return IndexChange(old_member, new_member, old, new)
