"""Address-book files: the examples of the sheet byte by byte, files there and back, and files that are damaged."""

from __future__ import annotations

import mmap
import struct
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.contacts import Contact, encode_values
from parley.addressbook.files.deltas import BookIndex, apply_delta, plan_delta
from parley.addressbook.files.dump import dump
from parley.addressbook.files.layout import EVIDENCE, Part, layout, unconfirmed_parts
from parley.addressbook.files.names import BookKind
from parley.addressbook.files.reading import BookFile
from parley.addressbook.files.schema import R2_ATTRIBUTES, BookAttribute, for_devices
from parley.addressbook.files.writing import Table, write_delta, write_full
from tests.unit.addressbook.made_up import TEXTS

LAYOUT = layout(unconfirmed=True)
OTHER = replace(
    LAYOUT, full_type=b"another full one", contact_header=(Part("guid", 16), Part("length", 2), Part("hash", 8)),
    deleted=(Part("guid", 16),), full_trailer=(Part("crc", 4), Part("contacts", 8)),
)  # fmt: skip
"""As if another layout turned out to be right."""
TABLE = Table(R2_ATTRIBUTES, b"^(\\d{4})$\r\n+4420555$1\r\n", True)
WIDE = Table((*R2_ATTRIBUTES, BookAttribute(300, "extensionAttribute1", 0xFF000000)))
ADA = Contact(UUID("8d3b5c58-0102-0304-0506-0708090a0b0c"), ((2, "Ada"), (4, "Ada Lovelace"), (10, "1"), (10, "tel:+441")))
BOB = Contact(UUID(int=2), ((4, "Bob"),))
EVE = Contact(UUID(int=3), ())


def full(day: int, *contacts: Contact, table: Table = TABLE) -> bytes:
    return b"".join(write_full(day, table, contacts, LAYOUT))


def opened(data: bytes) -> BookFile:
    return BookFile(data, LAYOUT)


@pytest.mark.parametrize(
    ("record", "attribute"),
    [
        ("0C 00 05 00 00 00 00 04 74 69 74 6C 65 00", BookAttribute(5, "title", 0x04000000)),
        (
            "21 00 08 00 00 00 00 07" + b"physicalDeliveryOfficeName\0".hex(),
            BookAttribute(8, "physicalDeliveryOfficeName", 0x07000000),
        ),
    ],
)
def test_attributes_as_in_the_examples(record: str, attribute: BookAttribute) -> None:
    data = bytes.fromhex(record)
    assert bytes(attribute) == data
    assert BookAttribute.parse(b"xx" + data, 2) == (attribute, 2 + len(data))
    assert attribute in R2_ATTRIBUTES
    for end in range(len(data)):
        with pytest.raises(BookFileError):
            BookAttribute.parse(data[:end], 0)


def test_values_as_in_the_examples() -> None:
    values = [(5, "Development Manager"), (15, "tel:+5555334312")]
    assert encode_values(values, 1) == b"\x05Development Manager\0\x0ftel:+5555334312\0"


def test_the_header_of_a_delta() -> None:
    data = b"".join(write_delta(0x0A10, 0x0A11, TABLE, [ADA], [BOB.id], LAYOUT))
    assert data[:16] == bytes.fromhex("16 C1 4B B5 08 90 C7 47 B9 BD F3 BB 1A 0A B6 EB")
    assert struct.unpack_from("<HHHHH", data, 16) == (0x0A10, 0x0A11, 20, 20, 1)
    assert data[26:154] == bytes(128)
    (length,) = struct.unpack_from("<I", data, 154)
    assert data[158 : 158 + length] == TABLE.rules + b"\0"
    assert data[158 + length :].startswith(b"".join(map(bytes, R2_ATTRIBUTES)))
    (trailer,) = struct.unpack("<I", data[-4:])
    assert struct.unpack("<III", data[-4 - trailer : -4])[:2] == (1, 1)


def test_a_full_header_has_no_base() -> None:
    data = full(0x0B8B, table=Table(()))
    assert struct.unpack_from("<HHHH", data, 16) == (0x0B8B, 0, 0, 0)
    assert data[24:152] == bytes(128)
    assert data[152:156] == bytes(4)
    assert len(data) == 156 + 8 + 4


def test_nothing_is_written_without_the_switch() -> None:
    assert set(unconfirmed_parts()) == {"full_type", "wide_id", "contact_header", "deleted", "full_trailer", "delta_trailer"}
    with pytest.raises(BookFileError, match=r"are not confirmed .*contact_header.*; allow unconfirmed layouts"):
        layout(unconfirmed=False)
    assert not LAYOUT.confirmed
    assert all(why for _, why in EVIDENCE.values())


CONTACTS = st.lists(
    st.builds(Contact, st.uuids(), st.lists(st.tuples(st.integers(1, 20), TEXTS), max_size=5).map(tuple)),
    max_size=6, unique_by=lambda contact: contact.id,
)  # fmt: skip


@given(CONTACTS, st.integers(1, 0xFFFF), st.sampled_from([TABLE, WIDE]), st.sampled_from([LAYOUT, OTHER]))
def test_full_files_there_and_back(contacts: list[Contact], day: int, table: Table, how: object) -> None:
    data = b"".join(write_full(day, table, contacts, how))  # type: ignore[arg-type]
    book = BookFile(data, how)  # type: ignore[arg-type]
    assert (book.kind, book.base, book.day, book.table) == (BookKind.FULL, None, day, table)
    assert list(book.contacts()) == contacts
    assert book.contact_count == len(contacts)
    book.verify()


@given(CONTACTS, st.lists(st.uuids(), max_size=4), st.integers(0, 0xFFFE), st.sampled_from([LAYOUT, OTHER]))
def test_deltas_there_and_back(contacts: list[Contact], deleted: list[UUID], base: int, how: object) -> None:
    book = BookFile(b"".join(write_delta(base, 0xFFFF, WIDE, contacts, deleted, how)), how)  # type: ignore[arg-type]
    assert (book.kind, book.base, book.day) == (BookKind.DELTA, base, 0xFFFF)
    assert list(book.contacts()) == contacts
    assert list(book.deleted()) == deleted
    book.verify()


@given(CONTACTS, CONTACTS)
def test_a_delta_leads_from_one_full_file_to_the_other(before: list[Contact], after: list[Contact]) -> None:
    after += before[: len(before) // 2]
    after = list({contact.id: contact for contact in after}.values())
    old, new = opened(full(1, *before)), opened(full(2, *after))
    plan = plan_delta(old, BookIndex.of(new))
    delta = opened(b"".join(plan.pieces(LAYOUT)))
    state = {contact.id: contact for contact in before}
    apply_delta(state, delta)
    assert state == {contact.id: contact for contact in after}
    assert set(delta.deleted()) == {contact.id for contact in before} - {contact.id for contact in after}
    assert not {contact.id for contact in delta.contacts()} & {contact.id for contact in before if contact in after}


def test_a_delta_is_left_out_when_more_than_an_eighth_changed() -> None:
    people = [Contact(UUID(int=number), ((4, f"U{number}"),)) for number in range(16)]
    old = opened(full(1, *people))
    for changed, worth in ((0, True), (2, True), (3, False)):
        newer = [replace(person, values=()) for person in people[:changed]] + people[changed:]
        assert plan_delta(old, BookIndex.of(opened(full(2, *newer)))).worth_writing() is worth
    gone = plan_delta(old, BookIndex.of(opened(full(2, *people[2:]))))
    assert gone.worth_writing() is False  # 2 of 14
    assert [guid.int for guid in gone.deleted] == [0, 1]


def test_no_delta_leads_to_other_attributes() -> None:
    plan = plan_delta(opened(full(1, ADA)), BookIndex.of(opened(full(2, ADA, table=Table(for_devices(R2_ATTRIBUTES))))))
    assert not plan.worth_writing()


def test_deltas_that_lead_nowhere() -> None:
    book = opened(full(1, ADA))
    delta = opened(b"".join(write_delta(1, 2, TABLE, [], [], LAYOUT)))
    for attempt in (
        lambda: plan_delta(book, BookIndex.of(book)),
        lambda: BookIndex.of(delta),
        lambda: apply_delta({}, book),
    ):
        with pytest.raises(BookFileError, match=r"a delta leads from a full file to a later one|this is no delta"):
            attempt()
    with pytest.raises(BookFileError, match="a delta leads to a later day"):
        list(write_delta(2, 2, TABLE, [], [], LAYOUT))


def test_a_file_is_read_where_it_lies(tmp_path: Path) -> None:
    people = [Contact(UUID(int=number), ((4, f"User {number}"), (17, f"u{number}@example.com"))) for number in range(5_000)]
    path = tmp_path / "F-0001.lsabs"
    with path.open("wb") as file:
        sizes = [file.write(piece) for piece in write_full(1, TABLE, iter(people), LAYOUT)]
    assert len(sizes) > 3
    assert max(sizes) < 70_000
    with path.open("rb") as stored, mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ) as data:
        book = BookFile(data, LAYOUT)
        book.verify()
        assert list(book.contacts()) == people


def test_a_file_as_text() -> None:
    odd = Contact(UUID(int=7), ((99, "a\nb\x1b[31m"),))
    assert list(dump(opened(full(0x0B8B, ADA, odd, table=Table(R2_ATTRIBUTES[1:4], b"E164\r\nx\r\n", True))))) == [
        "full file of day 0B8B (2009-02-03)",
        "numbers normalised by rules: yes",
        "rule E164",
        "rule x",
        "attribute 2 givenName flags 0x01000000",
        "attribute 3 sn flags 0x02000000",
        "attribute 4 displayName flags 0x03020000",
        "contact 8d3b5c58-0102-0304-0506-0708090a0b0c",
        "  givenName: Ada",
        "  displayName: Ada Lovelace",
        "  attribute 10: 1",
        "  attribute 10: tel:+441",
        "contact 00000000-0000-0000-0000-000000000007",
        "  attribute 99: a\\u000ab\\u001b[31m",
        list(dump(opened(full(0x0B8B, ADA, odd, table=Table(R2_ATTRIBUTES[1:4], b"E164\r\nx\r\n", True)))))[-1],
    ]
    delta = list(dump(opened(b"".join(write_delta(1, 2, Table(()), [], [BOB.id], LAYOUT)))))
    assert delta[0] == "delta file of day 0002 (2001-01-03) from day 0001 (2001-01-02)"
    assert delta[2] == f"deleted {BOB.id}"
    assert delta[3].startswith("trailer contacts=0 deleted=1 crc=")


def test_a_file_cut_short_is_none() -> None:
    data = full(1, ADA, BOB)
    for end in range(len(data)):
        with pytest.raises(BookFileError):
            opened(data[:end]).verify()


def test_every_changed_byte_is_noticed() -> None:
    data = full(1, ADA, BOB)
    for at in range(len(data)):
        with pytest.raises(BookFileError):
            opened(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]).verify()


def test_what_a_later_version_puts_behind_the_trailer_is_passed_over() -> None:
    data = full(1, ADA)
    (length,) = struct.unpack("<I", data[-4:])
    later = opened(data[:-4] + b"more" + struct.pack("<I", length + 4))
    later.verify()
    assert list(later.contacts()) == [ADA]


def altered(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


DELTA = b"".join(write_delta(1, 2, TABLE, [ADA], [BOB.id], LAYOUT))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "this is no address-book file, or of a type that is not known"),
        (b"%PDF-1.4" + bytes(200), "this is no address-book file, or of a type that is not known"),
        (altered(full(1), 18, b"\xff\xff"), "more than 1024 attributes are too many"),
        (altered(full(1), 20, b"\x15"), "the largest number of an attribute is another than the header says"),
        (altered(full(1), 152, b"\xff\xff\xff\xff"), "the rules are larger than 1048576 bytes"),
        (altered(full(1), 152, b"\x05\0\0\0"), "the rules do not end with a zero byte"),
        (full(1)[:-4] + b"\xff\xff\xff\xff", "the file has no trailer; it may have been cut short"),
        (full(1)[:-4] + b"\x04\0\0\0", "the file has no trailer; it may have been cut short"),
        (altered(DELTA, 16, b"\x02\0"), "the delta does not lead to a later day"),
        (altered(DELTA, len(DELTA) - 12, b"\xff\xff\xff\x7f"), "the trailer says more than there is"),
    ],
)
def test_files_that_cannot_be_opened(data: bytes, problem: str) -> None:
    with pytest.raises(BookFileError) as refused:
        opened(data)
    assert str(refused.value) == problem


@pytest.mark.parametrize(
    ("table", "contact", "problem"),
    [
        (TABLE, Contact(ADA.id, ((4, "a\0b"),)), "a value holds a zero byte"),
        (TABLE, Contact(ADA.id, ((300, "a"),)), "attribute 300 is larger than the file says"),
        (TABLE, Contact(ADA.id, ((4, "a"),) * 9_000), "more than 8192 values are too many for one contact"),
        (TABLE, Contact(ADA.id, ((4, "a" * 1_100_000),)), "a contact of more than 1048576 bytes is too large"),
        (Table((BookAttribute(1, "a\0b", 0),)), ADA, "attribute 'a\\x00b' with number 1 cannot be written"),
        (Table((), b"a\0b"), ADA, "the rules are larger than 1048576 bytes, or hold a zero byte"),
        (Table(R2_ATTRIBUTES * 4_000), ADA, "the day or the attributes cannot be written"),
    ],
)
def test_what_cannot_be_written(table: Table, contact: Contact, problem: str) -> None:
    with pytest.raises(BookFileError) as refused:
        list(write_full(1, table, [contact], LAYOUT))
    assert str(refused.value) == problem


def test_a_contact_that_does_not_fit_the_layout() -> None:
    with pytest.raises(BookFileError, match="length is too large for address-book files"):
        list(write_full(1, TABLE, [Contact(ADA.id, ((4, "a" * 70_000),))], OTHER))
