"""The one table of what address-book files look like, with how sure each part of it is (web-services sheet, section 1.3).

The specification's text that was at hand gives the delta header, the rules, the attributes, the values of contacts and the
length of the trailer. It does not give the type of full files, the header of a contact, the list of deleted contacts and
the trailers. For those the table holds assumptions, so that files can be written, read and compared here; that a client of
Microsoft reads them is not known. So `layout` asks for a switch, and what is announced to clients has to ask for it as well.
When a real file shows what is right, only this module changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from parley.addressbook.errors import BookFileError


class Evidence(StrEnum):
    """How sure a part is."""

    SPECIFIED = "specified"
    INFERRED = "inferred"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class Part:
    """A field of fixed size; numbers are unsigned, the lowest byte first."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How files are laid out."""

    full_type: bytes
    delta_type: bytes
    compact_type: bytes
    source_stream: int
    """Bytes at the end of a header that are zero."""
    wide_id: int
    """Bytes of an attribute's Id in a contact when the largest Id does not fit into one."""
    contact_header: tuple[Part, ...]
    """Parts ``length`` (of what follows that field) and ``guid``; ``hash`` of the values, if there is one."""
    deleted: tuple[Part, ...]
    """Part ``guid``."""
    full_trailer: tuple[Part, ...]
    """Part ``contacts`` (how many); ``crc`` of all bytes before the trailer, if there is one."""
    delta_trailer: tuple[Part, ...]
    """As well, ``deleted`` (how many)."""
    confirmed: bool
    """Whether all of it is known to be right."""


_ASSUMED: Final = Layout(
    full_type=bytes.fromhex("50 61 72 6c 65 79 20 66 75 6c 6c 20 62 6f 6f 6b"),
    delta_type=bytes.fromhex("16 c1 4b b5 08 90 c7 47 b9 bd f3 bb 1a 0a b6 eb"),
    compact_type=bytes.fromhex("34 17 7d f7 87 ae 2b 4d 09 a0 8e e9 ba 89 4a 04"),
    source_stream=128,
    wide_id=2,
    contact_header=(Part("length", 4), Part("guid", 16), Part("hash", 4)),
    deleted=(Part("guid", 16),),
    full_trailer=(Part("contacts", 4), Part("crc", 4)),
    delta_trailer=(Part("contacts", 4), Part("deleted", 4), Part("crc", 4)),
    confirmed=False,
)

EVIDENCE: Final = MappingProxyType(
    {
        "delta_type": (Evidence.SPECIFIED, "MS-ABS section 2.2.4"),
        "compact_type": (Evidence.SPECIFIED, "MS-ABS section 2.2.4; later than OCS 2007 R2"),
        "source_stream": (Evidence.SPECIFIED, "MS-ABS section 2.2.4; readers do not check it"),
        "delta header": (Evidence.SPECIFIED, "MS-ABS section 2.2.4, checked against its example"),
        "full header": (Evidence.INFERRED, "as the delta header, without the base"),
        "order of blocks": (Evidence.INFERRED, "from the offsets of the example"),
        "rules": (Evidence.SPECIFIED, "MS-ABS section 2.2.5"),
        "attributes": (Evidence.SPECIFIED, "MS-ABS, checked against two examples"),
        "values of contacts": (Evidence.SPECIFIED, "MS-ABS, checked against two examples, for an Id of one byte"),
        "trailer length": (Evidence.SPECIFIED, "MS-ABS section 2.2.14"),
        "full_type": (Evidence.UNCONFIRMED, "not found; the bytes say that the file is of Parley"),
        "wide_id": (Evidence.UNCONFIRMED, "an Id of two bytes"),
        "contact_header": (Evidence.UNCONFIRMED, "a length, the GUID and a hash are to be expected"),
        "deleted": (Evidence.UNCONFIRMED, "GUIDs of removed contacts after the contacts"),
        "full_trailer": (Evidence.UNCONFIRMED, "a CRC of 32 bits is to be expected; CRC-32 of IEEE 802.3 is assumed"),
        "delta_trailer": (Evidence.UNCONFIRMED, "as the full trailer, with the number of removed contacts"),
    }
)
"""How sure each part is, and why."""


def unconfirmed_parts() -> list[str]:
    """The parts that nobody has confirmed."""
    return [name for name, (evidence, _) in EVIDENCE.items() if evidence is Evidence.UNCONFIRMED]


def layout(*, unconfirmed: bool) -> Layout:
    """The layout. ``unconfirmed``: that assumptions are known and wanted. Raises BookFileError without it."""
    if not unconfirmed:
        raise BookFileError(
            f"parts of address-book files are not confirmed ({', '.join(unconfirmed_parts())}); "
            "allow unconfirmed layouts to write files for readers of Parley"
        )
    return _ASSUMED
