"""Reads address-book files, of Parley or with another layout (web-services sheet, section 1.3).

A file is read from memory (``bytes`` or ``mmap``); contacts are read one by one. Opening checks the headers, the
attributes and the trailer; `BookFile.verify` checks the whole.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.contacts import (
    MAX_CONTACT,
    Contact,
    RawContact,
    id_size,
    number,
    read_contact,
    size_of,
    unpack,
)
from parley.addressbook.files.layout import Layout
from parley.addressbook.files.names import BookKind
from parley.addressbook.files.schema import MAX_RECORD, BookAttribute
from parley.addressbook.files.writing import MAX_RULES, Table

MAX_FILE: Final = 1024 * 1024 * 1024
MAX_ATTRIBUTES: Final = 1_024
MAX_TRAILER: Final = 65_536
_GUID: Final = 16
_NUMBER: Final = struct.Struct("<I")
_PIECE: Final = 1_048_576


class BookFile:
    """An address-book file."""

    def __init__(self, data: bytes | mmap.mmap, layout: Layout) -> None:
        """Raises BookFileError."""
        if len(data) > MAX_FILE:
            raise BookFileError(f"the file is larger than {MAX_FILE} bytes")
        self._data = data
        self._layout = layout
        self.kind = self._kind()
        self.base: int | None = None
        """Of a delta: the day of the full file that it changes."""
        self.day, at, count, largest, uses_rules = self._header()
        rules, at = self._rules(at)
        attributes = []
        for _ in range(count):
            attribute, size = BookAttribute.parse(bytes(data[at : at + MAX_RECORD]), 0)
            attributes.append(attribute)
            at += size
        self.table = Table(tuple(attributes), rules, uses_rules)
        if self.table.largest_id != largest:
            raise BookFileError("the largest number of an attribute is another than the header says")
        self._width = id_size(largest, layout)
        self._begin = at
        self._trailer_at, self.trailer = self._trailer()
        self.deleted_count = number(self.trailer.get("deleted", b""))
        self._end = self._trailer_at - self.deleted_count * size_of(layout.deleted)
        if self._end < self._begin:
            raise BookFileError("the trailer says more than there is")

    @property
    def contact_count(self) -> int:
        """How many contacts the trailer says there are."""
        return number(self.trailer["contacts"])

    def _kind(self) -> BookKind:
        kinds = {
            self._layout.full_type: BookKind.FULL, self._layout.delta_type: BookKind.DELTA,
            self._layout.compact_type: BookKind.COMPACT,
        }  # fmt: skip
        found = kinds.get(bytes(self._data[:_GUID]))
        if found is None:
            raise BookFileError("this is no address-book file, or of a type that is not known")
        return found

    def _header(self) -> tuple[int, int, int, int, bool]:
        """Day, where the header ends, number of attributes, largest of their numbers, whether rules are used."""
        at = _GUID
        if self.kind is not BookKind.FULL:
            self.base = number(self._take(at, 2))
            at += 2
        day, count, largest, uses = struct.unpack("<HHHH", self._take(at, 8))
        end = at + 8 + self._layout.source_stream
        self._take(at + 8, self._layout.source_stream)
        if count > MAX_ATTRIBUTES:
            raise BookFileError(f"more than {MAX_ATTRIBUTES} attributes are too many")
        if self.base is not None and self.base >= day:
            raise BookFileError("the delta does not lead to a later day")
        return day, end, count, largest, bool(uses)

    def _rules(self, at: int) -> tuple[bytes, int]:
        (length,) = _NUMBER.unpack(self._take(at, 4))
        if length > MAX_RULES:
            raise BookFileError(f"the rules are larger than {MAX_RULES} bytes")
        rules = self._take(at + 4, length)
        if rules and (not rules.endswith(b"\0") or b"\0" in rules[:-1]):
            raise BookFileError("the rules do not end with a zero byte")
        return rules[:-1], at + 4 + length

    def _trailer(self) -> tuple[int, dict[str, bytes]]:
        end = len(self._data) - _NUMBER.size
        (length,) = _NUMBER.unpack(self._take(end, _NUMBER.size)) if end >= self._begin else (0,)
        parts = self._layout.full_trailer if self.kind is BookKind.FULL else self._layout.delta_trailer
        # A later version may put more behind what we know: the length tells where the trailer begins.
        if not size_of(parts) <= length <= MAX_TRAILER or end - length < self._begin:
            raise BookFileError("the file has no trailer; it may have been cut short")
        return end - length, unpack(parts, self._take(end - length, length))

    def _take(self, at: int, size: int) -> bytes:
        found = bytes(self._data[at : at + size]) if at >= 0 else b""
        if len(found) != size:
            raise BookFileError("the file ends too early")
        return found

    def raw_contacts(self) -> Iterator[RawContact]:
        """The contacts, their values still as bytes. Raises BookFileError."""
        return (raw for _, raw in self.placed_contacts())

    def placed_contacts(self) -> Iterator[tuple[int, RawContact]]:
        """The contacts with where they stand in the file. Raises BookFileError."""
        at = self._begin
        while at < self._end:
            found, behind = self._contact(at)
            yield at, found
            at = behind

    def contact_at(self, place: int) -> RawContact:
        """The contact at a place that `placed_contacts` gave. Raises BookFileError."""
        return self._contact(place)[0]

    def _contact(self, at: int) -> tuple[RawContact, int]:
        # Only the record is copied, however large the file is: its length stands in its header.
        head = size_of(self._layout.contact_header)
        first = self._take(at, min(head, self._end - at))
        length = number(unpack(self._layout.contact_header, first)["length"])
        window = bytes(self._data[at : min(at + head + min(length, MAX_CONTACT), self._end)])
        found, behind = read_contact(window, 0, len(window), self._width, self._layout)
        return found, at + behind

    def contacts(self) -> Iterator[Contact]:
        """The contacts. Raises BookFileError."""
        return (raw.parse() for raw in self.raw_contacts())

    def deleted(self) -> Iterator[UUID]:
        """Who is no more there; of a delta."""
        size = size_of(self._layout.deleted)
        for at in range(self._end, self._trailer_at, size):
            yield UUID(bytes_le=unpack(self._layout.deleted, self._take(at, size))["guid"])

    def verify(self) -> None:
        """Checks the checksum and that there are as many contacts as the trailer says. Raises BookFileError."""
        crc = 0
        for at in range(0, self._trailer_at, _PIECE):
            crc = zlib.crc32(self._data[at : min(at + _PIECE, self._trailer_at)], crc)
        if "crc" in self.trailer and crc != number(self.trailer["crc"]):
            raise BookFileError("the checksum is wrong; the file is damaged")
        if sum(1 for _ in self.raw_contacts()) != self.contact_count:
            raise BookFileError("there are not as many contacts as the trailer says")
