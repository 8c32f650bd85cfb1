"""What a delta between two full files holds, and whether it is worth writing (web-services sheet, section 1.2).

Only a digest of each contact of the newer file is held, not the contact; the older file is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final
from uuid import UUID

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.contacts import Contact
from parley.addressbook.files.layout import Layout
from parley.addressbook.files.names import BookKind
from parley.addressbook.files.reading import BookFile
from parley.addressbook.files.writing import write_delta

LARGEST_SHARE: Final = Fraction(1, 8)


@dataclass(frozen=True, slots=True)
class BookIndex:
    """A full file with a digest of each contact, for several deltas to it."""

    book: BookFile
    contacts: Mapping[bytes, tuple[bytes, int]]
    """By GUID: digest of the values, and where the contact stands."""

    @classmethod
    def of(cls, book: BookFile) -> BookIndex:
        """Raises BookFileError for what is no full file."""
        if book.kind is not BookKind.FULL:
            raise BookFileError("a delta leads from a full file to a later one")
        return cls(book, {raw.guid: (raw.digest, place) for place, raw in book.placed_contacts()})


@dataclass(frozen=True, slots=True)
class DeltaPlan:
    """What is different between two full files."""

    before: BookFile
    after: BookIndex
    changed: tuple[int, ...]
    """Where the contacts stand in the newer file that are new or have other values."""
    deleted: tuple[UUID, ...]
    other_table: bool
    """Whether the files have other attributes: then no delta leads from one to the other."""

    def worth_writing(self, largest: Fraction = LARGEST_SHARE) -> bool:
        """False when the full file is to be preferred; ``largest``: share of the contacts that may have changed."""
        return not self.other_table and len(self.changed) + len(self.deleted) <= len(self.after.contacts) * largest

    def pieces(self, layout: Layout) -> Iterator[bytes]:
        """The pieces of the delta. Raises BookFileError."""
        book = self.after.book
        changed = (book.contact_at(place).parse() for place in self.changed)
        return write_delta(self.before.day, book.day, book.table, changed, self.deleted, layout)


def plan_delta(before: BookFile, after: BookIndex) -> DeltaPlan:
    """What leads from a full file to a later one. Raises BookFileError."""
    if before.kind is not BookKind.FULL or before.day >= after.book.day:
        raise BookFileError("a delta leads from a full file to a later one")
    changed = {guid: place for guid, (_, place) in after.contacts.items()}
    deleted = []
    for raw in before.raw_contacts():
        there = after.contacts.get(raw.guid)
        if there is None:
            deleted.append(UUID(bytes_le=raw.guid))
        elif there[0] == raw.digest:
            changed.pop(raw.guid, None)
    other_table = before.table.attributes != after.book.table.attributes
    return DeltaPlan(before, after, tuple(sorted(changed.values())), tuple(deleted), other_table)


def apply_delta(contacts: dict[UUID, Contact], delta: BookFile) -> None:
    """Changes contacts of the delta's base to those of its day, as a client does. Raises BookFileError."""
    if delta.kind is not BookKind.DELTA:
        raise BookFileError("this is no delta")
    for contact in delta.contacts():
        contacts[contact.id] = contact
    for guid in delta.deleted():
        contacts.pop(guid, None)
