"""Entries by what is kept of them."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from parley.addressbook.entries import Entry, Kind, Membership
from parley.addressbook.entry_json import to_json
from parley.addressbook.errors import EntryError
from services.addressbook.directory.repository import parse, parse_kept, readable

ID = UUID(int=1)
SMALL = Entry(ID, Kind.CONTACT, display_name="Ada")


def kept(entry: Entry, version: int = 3) -> bytes:
    """What is kept of an entry."""
    return f"{version}\n".encode() + to_json(replace(entry, version=0))


def test_only_small_entries_are_remembered() -> None:
    large = Entry(ID, Kind.GROUP, display_name="All", membership=Membership(tuple(UUID(int=n) for n in range(200))))
    for entry, remembered in ((SMALL, True), (large, False)):
        raw = kept(entry)
        first = parse(raw)
        assert first == replace(entry, version=3)
        assert (parse(bytes(bytearray(raw))) is first) is remembered


def test_what_should_not_have_been_kept_is_known_as_it_is() -> None:
    bad = replace(SMALL, mail="no mail", membership=Membership((UUID(int=2),)))
    raw = kept(bad)
    with pytest.raises(EntryError):
        parse(raw)
    assert readable("a", raw) is None
    assert parse_kept(ID, raw) == replace(bad, version=3)
    assert parse_kept(ID, kept(SMALL)) == replace(SMALL, version=3)


@pytest.mark.parametrize(("raw", "version"), [(b"7\nno JSON", 7), (b"", 0), (b"x\n{", 0), (b"2\n[]", 2)])
def test_of_what_is_no_entry_the_version_is_known_at_most(raw: bytes, version: int) -> None:
    assert readable("a", raw) is None
    assert parse_kept(ID, raw) == Entry(ID, Kind.CONTACT, version=version)


def test_what_a_later_version_wrote_is_left_alone() -> None:
    with pytest.raises(EntryError, match="later version"):
        parse_kept(ID, kept(SMALL).replace(b'"v":1', b'"v":2'))
