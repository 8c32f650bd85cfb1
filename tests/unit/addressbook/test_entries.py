"""Entries: what may be kept, and the same entry after JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given

from parley.addressbook.attributes import attribute, values
from parley.addressbook.entries import (
    MAX_MEMBERS,
    MAX_NUMBERS,
    MAX_PROXIES,
    Entry,
    Kind,
    Membership,
    NumberKind,
    Origin,
    PhoneNumber,
    Photo,
    checked,
    normal_address,
    uuid_of_name,
)
from parley.addressbook.entry_json import FORM, from_json, to_json
from parley.addressbook.errors import EntryError
from tests.unit.addressbook.made_up import ADA, ENTRIES, FEW, TEAM


@FEW
@given(ENTRIES)
def test_entries_there_and_back(entry: Entry) -> None:
    data = to_json(entry)
    assert b"\n" not in data
    assert from_json(data) == entry
    assert checked(entry) == entry


def test_what_is_empty_takes_no_room() -> None:
    assert json.loads(to_json(Entry(UUID(int=1), Kind.CONTACT, display_name="X"))) == {
        "v": 1, "id": "00000000-0000-0000-0000-000000000001", "kind": "contact", "display_name": "X"
    }  # fmt: skip


def test_values_are_trimmed_and_told_once() -> None:
    entry = checked(
        replace(
            ADA, address="SIP:Ada@Example.COM", title="  Analyst ", proxies=("smtp:a@b", "smtp:a@b"),
            numbers=tuple(PhoneNumber(kind, raw) for kind in (NumberKind.WORK, NumberKind.HOME) for raw in (" 1 ", "1", " "))
        )
    )  # fmt: skip
    assert entry.address == "sip:ada@example.com"
    assert entry.title == "Analyst"
    assert entry.proxies == ("smtp:a@b",)
    assert entry.numbers == (PhoneNumber(NumberKind.WORK, "1"), PhoneNumber(NumberKind.HOME, "1"))


def test_a_group_without_members_has_an_empty_membership() -> None:
    assert checked(replace(TEAM, membership=None)).membership == Membership()


def test_the_name_to_show_is_never_empty() -> None:
    bare = Entry(UUID(int=1), Kind.USER, "sip:a@b.example")
    assert bare.name == "a@b.example"
    assert replace(bare, given_name="Ada", surname="L").name == "Ada L"
    assert Entry(UUID(int=1), Kind.CONTACT, mail="a@b").name == "a@b"


def test_who_is_shown() -> None:
    assert ADA.shown
    assert not replace(ADA, hidden=True).shown
    assert not replace(ADA, enabled=False).shown


def test_the_same_name_is_the_same_uuid() -> None:
    assert uuid_of_name(Kind.USER, "sip:Ada@x") == uuid_of_name(Kind.USER, " sip:ada@X ")
    assert uuid_of_name(Kind.USER, "sip:ada@x") != uuid_of_name(Kind.GROUP, "sip:ada@x")


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("", ""), ("ada@x.example", "sip:ada@x.example"), ("sips:Ada@X.example", "sip:ada@x.example"),
        ("sip:%41da@x.example", "sip:ada@x.example"), ("sip:a%20b@x.example", "sip:a%20b@x.example"),
    ],
)  # fmt: skip
def test_addresses(address: str, normal: str) -> None:
    assert normal_address(address) == normal
    assert normal_address(normal) == normal


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (replace(ADA, address="sip:ada@x:5060"), "address: 'sip:ada@x:5060' is no address of a user; write user@domain"),
        (replace(ADA, address="sip:sip:ada@x"), "address: 'sip:sip:ada@x' is no address of a user; write user@domain"),
        (replace(ADA, address="tel:+49"), "address: 'tel:+49' is no address of a user; write user@domain"),
        (replace(ADA, address="a b@x"), "address: 'a b@x' is no SIP address (Bad Character in URI); write user@domain"),
        (replace(ADA, address="a" * 250 + "@x.example"), "address: it is longer than 255 characters"),
        (replace(ADA, address=""), "address: a user needs a SIP address; give one, or make it a contact"),
        (replace(ADA, title="x" * 257), "title: it is longer than 256 characters; shorten it"),
        (replace(ADA, city="a\nb"), "city: it holds control characters; remove them"),
        (replace(ADA, mail="nobody"), "mail: 'nobody' is no mail address; write name@domain"),
        (
            Entry(UUID(int=1), Kind.CONTACT),
            "display_name: the entry has no name; give a display name, a SIP address or a mail address",
        ),
        (replace(ADA, proxies=("a@b",)), "proxies: 'a@b' has no scheme; write smtp:name@domain or tel:+number"),
        (
            replace(ADA, proxies=tuple(f"x:{n}" for n in range(MAX_PROXIES + 1))),
            "proxies: more than 64 further addresses; remove some",
        ),
        (
            replace(ADA, numbers=(PhoneNumber(NumberKind.WORK, "1", "+49"),)),
            "numbers: '+49' is no normalised number; write tel:+ and digits",
        ),
        (
            replace(ADA, numbers=tuple(PhoneNumber(NumberKind.WORK, str(n)) for n in range(MAX_NUMBERS + 1))),
            "numbers: more than 32 numbers; remove some",
        ),
        (replace(ADA, photo=Photo("AB", 1)), "photo: its hash has to be the SHA-256 of the picture in hexadecimal"),
        (replace(ADA, membership=Membership()), "membership: only groups have members"),
        (
            replace(TEAM, membership=Membership(tuple(UUID(int=n) for n in range(MAX_MEMBERS + 1)))),
            "membership: more than 100000 members; nest groups instead",
        ),
        (
            replace(TEAM, membership=Membership((UUID(int=1),), rule='title = "x"')),
            "membership: a group has either a rule or members; nest a group with a rule to have both",
        ),
        (replace(ADA, origin=Origin("ldap:")), "origin: 'ldap:' is no source; it is local, csv, scim or ldap:name"),
    ],
)  # fmt: skip
def test_what_may_not_be_kept(entry: Entry, problem: str) -> None:
    with pytest.raises(EntryError) as refused:
        checked(entry)
    assert str(refused.value) == problem


ID = '"id": "00000000-0000-0000-0000-000000000001", "kind": "contact", "display_name": "x"'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": this is no JSON"),
        ('{"v": 1', ": this is no JSON"),
        ("[" * 100_000, ": this is no JSON"),
        ("[]", ": this is no entry; an entry is an object"),
        ("{}", "v: the number of the form is missing"),
        ('{"v": true}', "v: the number of the form is missing"),
        (f'{{"v": {FORM + 1}}}', f"v: it was written in form {FORM + 1}, by a later version; upgrade this server first"),
        ('{"v": 1, "zzz": 1}', "zzz: there is no such field"),
        ('{"v": 1, "id": 5}', "id: it has to be a UUID"),
        ('{"v": 1, "id": "x"}', "id: it has to be a UUID"),
        (f'{{"v": 1, {ID}, "kind": []}}', "kind: it has to be one of user, contact, group"),
        (f'{{"v": 1, {ID}, "title": 5}}', "title: it has to be a str"),
        (f'{{"v": 1, {ID}, "hidden": 1}}', "hidden: it has to be a bool"),
        (f'{{"v": 1, {ID}, "version": -1}}', "version: the number is out of range"),
        (f'{{"v": 1, {ID}, "numbers": ["x"]}}', "numbers: a number has to be [kind, number] or [kind, number, tel:+...]"),
        (f'{{"v": 1, {ID}, "numbers": [["fax", "1"]]}}', "numbers: a number is one of work, mobile, home, other, ipPhone"),
        (f'{{"v": 1, {ID}, "proxies": [5]}}', "proxies: it has to be a list of texts"),
        (f'{{"v": 1, {ID}, "photo": ["x"]}}', "photo: it has to be [hash, size]"),
        (
            f'{{"v": 1, {ID}, "membership": []}}',
            "membership: it has to be an object with members, unresolved, rule and hidden",
        ),
        (f'{{"v": 1, {ID}, "origin": ["csv"]}}', "origin: it has to be [source, key, version]"),
    ],
)  # fmt: skip
def test_json_that_is_no_entry(text: str, problem: str) -> None:
    with pytest.raises(EntryError) as refused:
        from_json(text.encode())
    assert str(refused.value) == problem


def test_an_entry_cut_short_is_none() -> None:
    data = to_json(ADA)
    for end in range(len(data)):
        with pytest.raises(EntryError):
            from_json(data[:end])


def test_attributes_by_name() -> None:
    assert values(ADA, "SN") == values(ADA, "lastName") == ["Lovelace"]
    assert values(ADA, "telephoneNumber") == ["+44 20 7946 0001", "tel:+442079460001"]
    assert values(ADA, "mobile") == ["07700 900001"]
    assert values(ADA, "otherTelephone") == []
    assert values(ADA, "msrtcsip-primaryuseraddress") == ["sip:ada@example.com"]
    assert values(ADA, "photoRelPath") == [f"photos/{ADA.id}.jpg"]
    assert values(TEAM, "photoRelPath") == values(TEAM, "photoSize") == values(ADA, "nothing such") == []
    assert attribute("nothing such") is None
    many = replace(ADA, numbers=tuple(PhoneNumber(kind, f"{kind}{n}") for kind in NumberKind for n in (1, 2)))
    assert values(many, "otherTelephone") == ["other1", "other2", "work2", "ipPhone2"]
    assert values(many, "otherMobile") == ["mobile2"]


def test_no_entry_is_written_that_would_be_too_large_to_read() -> None:
    names = tuple(f"{number:05d}" + "x" * 1_000 for number in range(17_000))
    entry = Entry(UUID(int=1), Kind.GROUP, display_name="All", membership=Membership(unresolved=names))
    with pytest.raises(EntryError, match="more than an entry may have"):
        to_json(entry)
    fits = replace(entry, membership=Membership(unresolved=names[:16_000]))
    assert from_json(to_json(replace(fits, version=2**60))).membership == fits.membership
