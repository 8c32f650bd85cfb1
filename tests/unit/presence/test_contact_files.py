"""Contact lists as vCard and JSON: there and back, as other programs write them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.contact_files import BadRow, ContactFileError, Row, json_file, to_json, vcard_rows, vcards
from parley.presence.importing import MAX_ENTRIES, ContactEntry, GroupEntry

WORDS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=12)
NAMES = st.lists(WORDS, max_size=3).map(" ".join)
ADDRESSES = st.from_regex(r"sip:[a-z0-9._!;,=-]{1,12}@[a-z][a-z0-9]{0,8}\.test(;user=phone)?", fullmatch=True)
GROUPS = st.lists(st.lists(WORDS, min_size=1, max_size=2).map(" ".join), max_size=3, unique=True).map(tuple)
ENTRIES = st.builds(
    ContactEntry, ADDRESSES, NAMES, GROUPS.filter(lambda groups: groups != ("~",)), st.sampled_from([None, False]),
    st.none() | st.lists(WORDS, min_size=1, max_size=2).map(",".join),
)  # fmt: skip
EXTENSION = b"<contactExtension><contactSettings contactId='x'/></contactExtension>"


def read(data: bytes) -> list[ContactEntry]:
    rows = list(vcard_rows(data))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.entry for row in rows if isinstance(row, Row)]


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.sampled_from(["3.0", "4.0"]))
def test_cards_there_and_back(entries: list[ContactEntry], version: str) -> None:
    assert read(vcards(entries, version=version)) == [
        ContactEntry(one.address, "" if one.name == one.address[4:] else one.name, *one_rest(one)) for one in entries
    ]


def one_rest(entry: ContactEntry) -> tuple[tuple[str, ...], bool | None, str | None]:
    return entry.groups, entry.subscribed, entry.external_uri


@given(st.lists(ENTRIES, max_size=4), st.lists(st.builds(GroupEntry, WORDS, st.none() | WORDS), max_size=3))
def test_json_there_and_back(entries: list[ContactEntry], groups: list[GroupEntry]) -> None:
    found, rows = json_file(to_json("sip:alice@example.test", 7, groups, entries))
    assert found == groups
    assert list(rows) == [Row(place, entry) for place, entry in enumerate(entries, 1)]


def test_json_keeps_extensions() -> None:
    entry = ContactEntry("sip:bob@example.test", extension=EXTENSION)
    assert list(json_file(to_json("sip:a@b", 1, [], [entry]))[1]) == [Row(1, entry)]


def test_a_card_as_it_is_written() -> None:
    entry = ContactEntry("sip:bob@example.test", "Bob, the Builder", ("Friends", "Work; Site"), True, "", b"")
    assert vcards([entry]).decode().split("\r\n") == [
        "BEGIN:VCARD", "VERSION:4.0", "FN:Bob\\, the Builder", "IMPP:sip:bob@example.test",
        "CATEGORIES:Friends,Work\\; Site", "END:VCARD", "",
    ]  # fmt: skip
    assert b"N:bob@example.test;;;;\r\n" in vcards([ContactEntry("sip:bob@example.test", groups=("~",))], version="3.0")


FOREIGN = """BEGIN:VCARD
VERSION:3.0
PRODID:-//Example//Address Book//EN
N:Müller;Jörg;;;
FN:Jörg Müller
item1.EMAIL;type=INTERNET;type=pref:jm@example.test
IMPP;X-SERVICE-TYPE=Jabber;type=HOME:xmpp:jm@example.test
IMPP;X-SERVICE-TYPE=SIP:sip\\:jm@example.test
CATEGORIES:Friends,Family
CATEGORIES:Friends, Chess
END:VCARD
BEGIN:VCARD
VERSION:4.0
FN:Work phone
IMPP;PREF=50:sip:first@example.test
IMPP;PREF=1:sip:preferred@example.test
END:VCARD
begin:vcard
version:3.0
fn:A phone's card
x-sip:+441632960000@example.test
end:vcard
BEGIN:VCARD
VERSION:4.0
KIND:group
FN:Friends
MEMBER:urn:uuid:1
END:VCARD
BEGIN:VCARD
VERSION:4.0
FN:Nobody
EMAIL:nobody@example.test
END:VCARD
""".encode()


def test_cards_as_other_programs_write_them() -> None:
    assert list(vcard_rows(FOREIGN)) == [
        Row(1, ContactEntry("sip:jm@example.test", "Jörg Müller", ("Friends", "Family", "Chess"))),
        Row(12, ContactEntry("sip:preferred@example.test", "Work phone")),
        Row(18, ContactEntry("sip:+441632960000@example.test", "A phone's card")),
        BadRow(29, "Nobody has no SIP address; write IMPP:sip:user@domain"),
    ]


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n"])
def test_no_card_at_all(data: bytes) -> None:
    with pytest.raises(ContactFileError, match="there is no vCard in it"):
        list(vcard_rows(data))


def test_too_many_cards() -> None:
    with pytest.raises(ContactFileError, match=f"more than {MAX_ENTRIES} contacts are too many"):
        list(vcard_rows(b"BEGIN:VCARD\nEND:VCARD\n" * (MAX_ENTRIES + 1)))


def content(**changes: Any) -> bytes:
    return json.dumps({"format": "parley-contacts", "version": 1, "contacts": [], **changes}).encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "it is no JSON: "),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"\xff", "it is not UTF-8"),
        (b"[]", "it holds no contacts: "),
        (content(format="other"), "it holds no contacts: "),
        (content(version=2), "its version is 2; this Parley reads 1"),
        (content(contacts={}), '"contacts" and "groups" must be lists'),
        (content(contacts=[1] * (MAX_ENTRIES + 1)), "more than 10000 contacts are too many"),
        (content(groups=[{"name": 1}]), "a group cannot be read: name: "),
    ],
)
def test_json_that_is_none_of_contacts(data: bytes, problem: str) -> None:
    with pytest.raises(ContactFileError) as refused:
        json_file(data)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({}, "address: Field required"),
        ({"address": "sip:a@b", "nmae": "A"}, "nmae: Extra inputs are not permitted"),
        ({"address": "sip:a@b", "groups": "Friends"}, "groups: Input should be a valid list"),
        ({"address": "sip:a@b", "subscribed": "yes"}, "subscribed: Input should be a valid boolean"),
        ({"address": "sip:a@b", "name": "x" * 257}, "name: String should have at most 256 characters"),
        ({"address": "sip:a@b", "name": "\ud800"}, "name: Input should be a valid string, unable"),
        (7, "Input should be "),
    ],
)
def test_bad_rows_of_json_leave_the_others(item: Any, problem: str) -> None:
    bad, good = json_file(content(contacts=[item, {"address": "sip:a@b"}]))[1]
    assert isinstance(bad, BadRow)
    assert (bad.place, bad.problem[: len(problem)]) == (1, problem)
    assert good == Row(2, ContactEntry("sip:a@b"))
