"""Attributes of address-book files: the flags, the table of OCS 2007 R2, and their record (web-services sheet, 1.4 and 1.5).

What is marked as assumed in the table is not in the sheet for R2: flags are those of Lync 2013 without the bits that only
Lync has, some numbers follow from the order of the list. Readers take numbers, names and flags from the file, so other
numbers do no harm. The table decides what is written: another flag here is another file, and nothing else changes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from parley.addressbook.errors import BookFileError

_HEAD: Final = struct.Struct("<HHI")
_MAX_NAME: Final = 256
MAX_RECORD: Final = _HEAD.size + _MAX_NAME
"""Bytes of the largest attribute."""


class ValueType(IntEnum):
    """The lowest byte of the flags: which values are written."""

    STRING = 0
    BINARY = 1
    TEL = 2
    """Those that begin with ``tel:``."""
    EXCLUDES = 3
    """None; TRUE leaves out the whole entry."""
    SMTP = 4
    """Those that begin with ``smtp:`` and have an ``@``."""
    TEL_OR_SMTP = 5


class Flag(IntFlag):
    """The control bits of the flags."""

    MULTIPLE = 0x0100
    NICKNAME = 0x0400
    """It names entries where the original tells of numbers that no rule takes."""
    REQUIRED = 0x0800
    """An entry has to have a value in one of those."""
    NORMALISE = 0x1000
    NORMALISE_BY_RULES = 0x2000
    """Normalised if rules are used; else the number comes from proxyAddresses."""
    EXCLUDE = 0x4000
    """Entries that have it are left out, whatever includes them."""
    INCLUDE = 0x8000
    """Entries that do not have it are left out."""
    GROUP = 0x1_0000
    DEVICES = 0x2_0000
    """It is also in files for phones."""


@dataclass(frozen=True, slots=True)
class BookAttribute:
    """One attribute of a file."""

    id: int
    name: str
    """As Active Directory calls it."""
    flags: int
    """32 bits: the type, control bits, and where clients keep it: 0xFF for nowhere."""

    @property
    def type(self) -> int:
        """See `ValueType`; a file may hold others."""
        return self.flags & 0xFF

    def has(self, flag: Flag) -> bool:
        """Whether a control bit is set."""
        return bool(self.flags & flag)

    def __bytes__(self) -> bytes:
        """Its record. Raises BookFileError for what does not fit."""
        name = self.name.encode() + b"\0"
        if not 0 <= self.id <= 0xFFFF or not 0 <= self.flags <= 0xFFFFFFFF or len(name) > _MAX_NAME or b"\0" in name[:-1]:
            raise BookFileError(f"attribute {self.name[:40]!r} with number {self.id} cannot be written")
        return _HEAD.pack(_HEAD.size - 2 + len(name), self.id, self.flags) + name

    @classmethod
    def parse(cls, data: bytes, at: int) -> tuple[BookAttribute, int]:
        """The attribute at an offset, and where the next one begins. Raises BookFileError."""
        if len(data) - at < _HEAD.size:
            raise BookFileError("the file ends within its attributes")
        length, number, flags = _HEAD.unpack_from(data, at)
        end = at + 2 + length
        name = data[at + _HEAD.size : end]
        if length < _HEAD.size - 1 or len(name) != length - (_HEAD.size - 2):
            raise BookFileError("the file ends within its attributes")
        if len(name) > _MAX_NAME or not name.endswith(b"\0") or b"\0" in name[:-1]:
            raise BookFileError("the name of an attribute cannot be read")
        try:
            return cls(number, name[:-1].decode(), flags), end
        except UnicodeDecodeError:
            raise BookFileError("the name of an attribute is no UTF-8") from None


R2_ATTRIBUTES: Final = (
    BookAttribute(1, "msExchHideFromAddressLists", 0xFF000003),
    BookAttribute(2, "givenName", 0x01000000),
    BookAttribute(3, "sn", 0x02000000),
    BookAttribute(4, "displayName", 0x03020000),
    BookAttribute(5, "title", 0x04000000),
    BookAttribute(6, "mailNickname", 0x05000400),
    BookAttribute(7, "company", 0x06000000),
    BookAttribute(8, "physicalDeliveryOfficeName", 0x07000000),
    BookAttribute(9, "msRTCSIP-PrimaryUserAddress", 0x08020C00),  # assumed: control bits
    BookAttribute(10, "telephoneNumber", 0x09022800),  # assumed: control bits
    BookAttribute(11, "homePhone", 0x0A002800),  # assumed: number, control bits
    BookAttribute(12, "otherHomePhone", 0xFF002000),  # assumed: number, flags; no field of clients is named for it
    BookAttribute(13, "mobile", 0x0B022800),  # assumed: control bits
    BookAttribute(14, "otherMobile", 0xFF002000),  # assumed: as otherHomePhone
    BookAttribute(15, "otherTelephone", 0x0C002000),  # assumed: control bits
    BookAttribute(16, "ipPhone", 0x0D002000),  # assumed: number, control bits
    BookAttribute(17, "mail", 0x0E000000),  # assumed: number, control bits
    BookAttribute(18, "proxyAddresses", 0x00000105),  # assumed: type and control bits
    BookAttribute(19, "groupType", 0x0F010800),  # assumed: number, control bits
    BookAttribute(20, "manager", 0x10000000),  # assumed: number, type
)
"""The attributes of OCS 2007 R2."""


def for_devices(attributes: tuple[BookAttribute, ...]) -> tuple[BookAttribute, ...]:
    """Those that are also in files for phones."""
    return tuple(attribute for attribute in attributes if attribute.has(Flag.DEVICES))
