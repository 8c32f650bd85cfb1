"""Contacts of address-book files: what stands in one, as bytes and back (web-services sheet, section 1.3).

A value is the number of its attribute and text that ends with a zero byte. A phone number is two values of one attribute: as
the directory has it, and normalised (``tel:``), where a rule gave that.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.layout import Layout, Part

MAX_CONTACT: Final = 1_048_576
MAX_VALUES: Final = 8_192
_DIGEST: Final = 16

Value = tuple[int, str]
"""Number of the attribute, and text."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One entry of a file."""

    id: UUID
    values: tuple[Value, ...]

    def all(self, attribute: int) -> list[str]:
        """The values of an attribute, by its number."""
        return [text for number, text in self.values if number == attribute]


def pack(parts: Sequence[Part], values: dict[str, int | bytes]) -> bytes:
    """Fields of fixed size, one behind the other. Raises BookFileError for a number that does not fit."""
    out = bytearray()
    for part in parts:
        value = values[part.name]
        try:
            out += value if isinstance(value, bytes) else value.to_bytes(part.size, "little")
        except OverflowError:
            raise BookFileError(f"{part.name} is too large for address-book files") from None
    return bytes(out)


def unpack(parts: Sequence[Part], data: bytes, at: int = 0) -> dict[str, bytes]:
    """The bytes of each field. Raises BookFileError."""
    found: dict[str, bytes] = {}
    for part in parts:
        found[part.name] = data[at : at + part.size]
        at += part.size
        if len(found[part.name]) != part.size:
            raise BookFileError("the file ends within a record")
    return found


def number(field: bytes) -> int:
    """A field that is a number."""
    return int.from_bytes(field, "little")


def size_of(parts: Sequence[Part]) -> int:
    """Bytes of all fields."""
    return sum(part.size for part in parts)


def id_size(largest: int, layout: Layout) -> int:
    """Bytes of an attribute's number in a contact; ``largest``: of the numbers of the file."""
    return 1 if largest < 256 else layout.wide_id


def encode_values(values: Sequence[Value], width: int) -> bytes:
    """Values as bytes. Raises BookFileError."""
    if len(values) > MAX_VALUES:
        raise BookFileError(f"more than {MAX_VALUES} values are too many for one contact")
    out = bytearray()
    for attribute, text in values:
        raw = text.encode("utf-8", "surrogatepass")
        if b"\0" in raw:
            raise BookFileError("a value holds a zero byte")
        try:
            out += attribute.to_bytes(width, "little") + raw + b"\0"
        except OverflowError:
            raise BookFileError(f"attribute {attribute} is larger than the file says") from None
    return bytes(out)


def encode_contact(contact: Contact, width: int, layout: Layout) -> bytes:
    """A contact as bytes; ``width``: see `id_size`. Raises BookFileError."""
    values = encode_values(contact.values, width)
    behind = size_of(layout.contact_header) - _length_end(layout)
    head: dict[str, int | bytes] = {
        "length": behind + len(values), "guid": contact.id.bytes_le, "hash": zlib.crc32(values)
    }  # fmt: skip
    if size_of(layout.contact_header) + len(values) > MAX_CONTACT:
        raise BookFileError(f"a contact of more than {MAX_CONTACT} bytes is too large")
    return pack(layout.contact_header, head) + values


def _length_end(layout: Layout) -> int:
    """Where the field of the length ends within the header of a contact."""
    end = 0
    for part in layout.contact_header:
        end += part.size
        if part.name == "length":
            return end
    raise BookFileError("the layout has no length of contacts")


@dataclass(frozen=True, slots=True)
class RawContact:
    """A contact whose values are still bytes."""

    guid: bytes
    """As it stands in the file: the fields of the UUID with their lowest byte first."""
    values: bytes
    width: int

    @property
    def digest(self) -> bytes:
        """What changes with the values; 16 bytes. The hash in the file is too short to rely on."""
        return hashlib.blake2b(self.values, digest_size=_DIGEST).digest()

    def parse(self) -> Contact:
        """Raises BookFileError."""
        return Contact(UUID(bytes_le=self.guid), tuple(decode_values(self.values, self.width)))


def decode_values(data: bytes, width: int) -> Iterator[Value]:
    """The values of a contact. Raises BookFileError."""
    at = count = 0
    while at < len(data):
        end = data.find(b"\0", at + width)
        count += 1
        if end < 0 or count > MAX_VALUES:
            raise BookFileError("a contact ends within a value" if end < 0 else "a contact has too many values")
        try:
            yield number(data[at : at + width]), data[at + width : end].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise BookFileError("a value is no UTF-8") from None
        at = end + 1


def read_contact(data: bytes, at: int, end: int, width: int, layout: Layout) -> tuple[RawContact, int]:
    """The contact at an offset, and where the next one begins; ``end``: of all contacts. Raises BookFileError."""
    head = unpack(layout.contact_header, data, at)
    behind = at + _length_end(layout) + number(head["length"])
    values = at + size_of(layout.contact_header)
    if behind > end or behind < values:
        raise BookFileError("the length of a contact is wrong")
    if behind - at > MAX_CONTACT:
        raise BookFileError(f"a contact is larger than {MAX_CONTACT} bytes")
    found = RawContact(head["guid"], data[values:behind], width)
    if "hash" in head and zlib.crc32(found.values) != number(head["hash"]):
        raise BookFileError(f"contact {UUID(bytes_le=found.guid)} is damaged")
    return found, behind
