"""What is different between two states of the directory: for dry runs of an import, for reports, for deltas.

What a source says of its own version, and how often an entry was changed here, are no differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry, Membership, PhoneNumber, Photo

_ASIDE: Final = frozenset({"id", "version", "membership", "origin"})
_FIELDS: Final = tuple(item.name for item in fields(Entry) if item.name not in _ASIDE)
_SHOWN: Final = 5
"""Values of one field that a line shows; of the others it says how many there are."""


class Change(StrEnum):
    """What happens to an entry."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """What happens to one field. A text that becomes another is removed, and the other is added."""

    field: str
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.removed) == 1 == len(self.added):
            return f"{self.field}: {self.removed[0]} -> {self.added[0]}"
        parts = [f"{sign}{value}" for sign, values in (("-", self.removed), ("+", self.added)) for value in values[:_SHOWN]]
        left = max(0, len(self.removed) - _SHOWN) + max(0, len(self.added) - _SHOWN)
        return f"{self.field}: {' '.join(parts)}" + (f" and {left} more" if left else "")


@dataclass(frozen=True, slots=True)
class Difference:
    """What happens to one entry."""

    change: Change
    id: UUID
    name: str
    """As it is afterwards; of one that is removed, as it was."""
    fields: tuple[FieldChange, ...] = ()

    def __str__(self) -> str:
        head = f"{self.change} {self.name} ({self.id})"
        return f"{head}: {'; '.join(map(str, self.fields))}" if self.change is Change.CHANGED else head


def difference(before: Entry | None, after: Entry | None) -> Difference | None:
    """What makes one entry of another; None when nothing is different. Both have the same UUID."""
    if after is None:
        return Difference(Change.REMOVED, before.id, before.name, tuple(_changes(before, None))) if before else None
    if before is None:
        return Difference(Change.ADDED, after.id, after.name, tuple(_changes(None, after)))
    changes = tuple(_changes(before, after))
    return Difference(Change.CHANGED, after.id, after.name, changes) if changes else None


def _changes(before: Entry | None, after: Entry | None) -> Iterator[FieldChange]:
    old, new = _values(before), _values(after)
    for name in {**old, **new}:
        had, has = old.get(name, ()), new.get(name, ())
        if had == has:
            continue
        removed, added = _without(had, has), _without(has, had)
        # The same values in another order: all of them are told, as the first one is what is preferred.
        yield FieldChange(name, removed, added) if removed or added else FieldChange(name, had, has)


def _without(values: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    there = set(others)
    return tuple(value for value in values if value not in there)


def _values(entry: Entry | None) -> dict[str, tuple[str, ...]]:
    """The fields that are not empty, as texts."""
    if entry is None:
        return {}
    found = {name: _texts(getattr(entry, name)) for name in _FIELDS}
    found["source"], found["source_key"] = (entry.origin.source,), (entry.origin.key,) if entry.origin.key else ()
    if entry.membership is not None:
        found |= _membership(entry.membership)
    return {name: texts for name, texts in found.items() if texts}


def _texts(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, bool):
        return ("yes",) if value else ("no",)
    if isinstance(value, tuple):
        return tuple(_text(item) for item in value)
    return (_text(value),)


def _text(value: object) -> str:
    if isinstance(value, PhoneNumber):
        return " ".join(filter(None, (value.kind, value.raw, value.normalised)))
    return value.hash if isinstance(value, Photo) else str(value)


def _membership(membership: Membership) -> dict[str, tuple[str, ...]]:
    # Sets have no order: members are sorted, so that a source that tells them in another order changes nothing.
    members = sorted([str(member) for member in membership.members] + list(membership.unresolved))
    return {
        "members": tuple(members), "rule": (membership.rule,) if membership.rule else (),
        "members_hidden": ("yes",) if membership.hidden else ("no",),
    }  # fmt: skip


def compare(before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[Difference]:
    """What makes one set of entries of another: what is there afterwards in its order, then what is removed.

    Holds all entries of ``before``.
    """
    old = {entry.id: entry for entry in before}
    for entry in after:
        found = difference(old.pop(entry.id, None), entry)
        if found is not None:
            yield found
    for entry in old.values():
        removed = difference(entry, None)
        if removed is not None:
            yield removed
