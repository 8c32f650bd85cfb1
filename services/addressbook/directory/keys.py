"""Where the directory is kept. Entries, users and the index change together, so all keys share one hash tag."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry, Kind

PREFIX: Final = "parley:ab:{users}:"
OUTBOX: Final = PREFIX + "directory-outbox"
IDS: Final = PREFIX + "ids"
"""Sorted set of the UUIDs (hexadecimal) of all entries, all with score 0."""
GENERATIONS: Final = PREFIX + "generations"
"""Hash: which generation of the index is in use, which is being made."""
BY_ADDRESS: Final = "by-address"
BY_MAIL: Final = "by-mail"
BY_NICKNAME: Final = "by-nickname"
UNIQUE: Final = (BY_ADDRESS, BY_MAIL, BY_NICKNAME)
"""Lookups of which each value belongs to one entry."""


def entry_key(id: UUID) -> str:
    """Where an entry is: its version, a line feed, and the rest as JSON."""
    return f"{PREFIX}e:{id.hex}"


def photo_key(id: UUID) -> str:
    """Where the picture of an entry is."""
    return f"{PREFIX}photo:{id.hex}"


def source_key(source: str) -> str:
    """Sorted set of the UUIDs of the entries of a source."""
    return f"{PREFIX}source:{source}"


def lookup_key(name: str) -> str:
    """Hash of UUIDs by a value that entries are known by."""
    return PREFIX + name


def by_source_key(source: str) -> str:
    """Name of the lookup by what a source calls its entries."""
    return f"by-key:{source}"


def generation_key(generation: int, part: str) -> str:
    """A part of a generation of the index: "m" (members), a family, or a family's gram ("w:abc")."""
    return f"{PREFIX}i{generation}:{part}"


def lookups_of(entry: Entry) -> list[tuple[str, str]]:
    """What an entry is looked up by: lookup and value."""
    found = [(BY_ADDRESS, entry.address), (BY_MAIL, entry.mail.casefold()), (BY_NICKNAME, entry.mail_nickname.casefold())]
    found.append((by_source_key(entry.origin.source), entry.origin.key.casefold()))
    return [(name, value) for name, value in found if value]


def is_served_user(entry: Entry | None, domains: frozenset[str]) -> bool:
    """Whether an entry is somebody who signs in here."""
    return entry is not None and entry.kind is Kind.USER and entry.address.rpartition("@")[2] in domains
