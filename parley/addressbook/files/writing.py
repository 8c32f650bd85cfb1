"""Writes address-book files piece by piece (web-services sheet, section 1.3).

No more than one contact and one piece are in memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.contacts import Contact, encode_contact, id_size, pack
from parley.addressbook.files.layout import Layout
from parley.addressbook.files.schema import BookAttribute

MAX_RULES: Final = 1_048_576
_PIECE: Final = 65_536
_NUMBER: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Table:
    """What stands before the contacts."""

    attributes: tuple[BookAttribute, ...]
    rules: bytes = b""
    """The rules for numbers, as `bytes(CompanyRules)` gives them."""
    uses_rules: bool = False
    """Whether numbers were normalised by rules."""

    @property
    def largest_id(self) -> int:
        """The largest number of an attribute."""
        return max((attribute.id for attribute in self.attributes), default=0)


@dataclass(slots=True)
class _Output:
    """Gathers pieces, and the checksum of all of them."""

    pending: bytearray = field(default_factory=bytearray)
    crc: int = 0

    def add(self, data: bytes) -> Iterator[bytes]:
        self.pending += data
        if len(self.pending) >= _PIECE:
            yield self.take()

    def take(self) -> bytes:
        piece = bytes(self.pending)
        self.pending.clear()
        self.crc = zlib.crc32(piece, self.crc)
        return piece


def write_full(day: int, table: Table, contacts: Iterable[Contact], layout: Layout) -> Iterator[bytes]:
    """The pieces of a full file. Raises BookFileError."""
    output = _Output()
    yield from output.add(layout.full_type + _numbers(day, table) + bytes(layout.source_stream) + _head(table))
    count = 0
    width = id_size(table.largest_id, layout)
    for contact in contacts:
        yield from output.add(encode_contact(contact, width, layout))
        count += 1
    yield output.take()
    trailer = pack(layout.full_trailer, {"contacts": count, "crc": output.crc})
    yield trailer + _NUMBER.pack(len(trailer))


def write_delta(
    base: int, day: int, table: Table, contacts: Iterable[Contact], deleted: Iterable[UUID], layout: Layout
) -> Iterator[bytes]:
    """The pieces of a delta: contacts that are new or changed since the day ``base``, whole. Raises BookFileError."""
    output = _Output()
    if not 0 <= base < day:
        raise BookFileError("a delta leads to a later day")
    head = layout.delta_type + struct.pack("<H", base) + _numbers(day, table) + bytes(layout.source_stream) + _head(table)
    yield from output.add(head)
    count = removed = 0
    width = id_size(table.largest_id, layout)
    for contact in contacts:
        yield from output.add(encode_contact(contact, width, layout))
        count += 1
    for guid in deleted:
        yield from output.add(pack(layout.deleted, {"guid": guid.bytes_le}))
        removed += 1
    yield output.take()
    trailer = pack(layout.delta_trailer, {"contacts": count, "deleted": removed, "crc": output.crc})
    yield trailer + _NUMBER.pack(len(trailer))


def _numbers(day: int, table: Table) -> bytes:
    try:
        return struct.pack("<HHHH", day, len(table.attributes), table.largest_id, 1 if table.uses_rules else 0)
    except struct.error:
        raise BookFileError("the day or the attributes cannot be written") from None


def _head(table: Table) -> bytes:
    rules = table.rules + b"\0" if table.rules else b""
    if len(rules) > MAX_RULES or b"\0" in table.rules:
        raise BookFileError(f"the rules are larger than {MAX_RULES} bytes, or hold a zero byte")
    return _NUMBER.pack(len(rules)) + rules + b"".join(map(bytes, table.attributes))
