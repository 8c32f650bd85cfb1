"""Imports into contact lists: what is added, changed and deleted, how it is told, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.contacts import add_group, new_list, set_contact
from parley.presence.documents.contact_lists import contact_delta, contact_list
from parley.presence.errors import BadDocument, TooLarge
from parley.presence.importing import ContactEntry, GroupEntry, ImportReport, exported, import_contacts
from parley.proto.presence.v1 import state_pb2 as pb
from parley.xml import children, parse_xml

EXTENSION = b"<contactExtension><x>1</x></contactExtension>"


def sample() -> pb.ContactList:
    """Bob among friends, Carol in no group."""
    contacts = new_list()
    add_group(contacts, "Friends", "")
    for uri, name, groups in (("bob@example.test", "Bob", [2]), ("carol@example.test", "Carol", [1])):
        set_contact(
            contacts, uri=uri, name=name, groups=groups, subscribed=True, external_uri="", extension=EXTENSION, limit=10
        )
    return contacts


def do(
    contacts: pb.ContactList, *entries: ContactEntry, replace: bool = False, limit: int = 100, **more: Any
) -> ImportReport:
    return import_contacts(contacts, entries, replace=replace, limit=limit, **more)


def summary(contacts: pb.ContactList) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name and groups by address."""
    return {entry.address: (entry.name, entry.groups) for entry in exported(contacts)[1]}


def told(before: pb.ContactList, report: ImportReport) -> pb.ContactList:
    """What a client has that applied every change to the list it had."""
    mine = pb.ContactList.FromString(before.SerializeToString())
    for delta in report.deltas:
        assert delta.number == mine.delta + 1
        mine.delta = delta.number
        root = parse_xml(contact_delta(delta))
        assert root.get("deltaNum") == str(delta.number)
        assert len(root) > 0
        for changed in (*delta.added_groups, *delta.modified_groups):
            others = [group for group in mine.groups if group.id != changed.id]
            del mine.groups[:]
            mine.groups.extend([*others, changed])
        for contact in (*delta.added, *delta.modified):
            assert set(contact.groups) <= {group.id for group in mine.groups}
            kept = [one for one in mine.contacts if one.uri != contact.uri]
            del mine.contacts[:]
            mine.contacts.extend([*kept, contact])
        left = [one for one in mine.contacts if one.uri not in delta.deleted]
        del mine.contacts[:]
        mine.contacts.extend(left)
        remaining = [group for group in mine.groups if group.id not in delta.deleted_groups]
        del mine.groups[:]
        mine.groups.extend(remaining)
    return mine


def same(one: pb.ContactList, other: pb.ContactList) -> bool:
    return (one.delta, sorted(map(str, one.groups)), sorted(map(str, one.contacts))) == (
        other.delta, sorted(map(str, other.groups)), sorted(map(str, other.contacts)),
    )  # fmt: skip


def test_merging_adds_and_keeps() -> None:
    contacts = sample()
    before = pb.ContactList.FromString(contacts.SerializeToString())
    report = do(
        contacts,
        ContactEntry("SIP:BOB@example.test".replace("SIP", "sip"), "Robert", ("Work",)),
        ContactEntry("sip:carol@example.test", groups=("Friends",)),
        ContactEntry("dave@example.test", "Dave", ("Work", "Friends"), external_uri="x"),
        ContactEntry("eve@example.test", subscribed=False),
    )
    assert (report.added, report.changed, report.unchanged, report.deleted, report.groups_added) == (2, 2, 0, 0, 1)
    assert summary(contacts) == {
        "sip:bob@example.test": ("Robert", ("Friends", "Work")),
        "sip:carol@example.test": ("Carol", ("Friends",)),
        "sip:dave@example.test": ("Dave", ("Work", "Friends")),
        "sip:eve@example.test": ("", ("~",)),
    }
    assert [contact.subscribed for contact in contacts.contacts] == [True, True, True, False]
    assert contacts.contacts[0].extension == EXTENSION
    assert same(told(before, report), contacts)


def test_what_is_there_already_is_told_to_nobody() -> None:
    contacts = sample()
    delta = contacts.delta
    groups, entries = exported(contacts)
    for replace in (False, True):
        report = import_contacts(contacts, entries, groups, replace=replace, limit=10)
        assert (report.deltas, report.unchanged, contacts.delta) == ([], 2, delta)


def test_replacing_deletes_what_is_not_given() -> None:
    contacts = sample()
    before = pb.ContactList.FromString(contacts.SerializeToString())
    report = do(contacts, ContactEntry("sip:bob@example.test", groups=("Work",)), replace=True, limit=1)
    assert (report.added, report.changed, report.deleted, report.groups_added, report.groups_deleted) == (0, 1, 1, 1, 1)
    assert summary(contacts) == {"sip:bob@example.test": ("Bob", ("Work",))}
    assert [group.name for group in contacts.groups] == ["~", "Work"]
    assert same(told(before, report), contacts)


def test_a_list_is_not_replaced_by_one_with_bad_entries() -> None:
    contacts = sample()
    before = contacts.SerializeToString()
    report = do(contacts, ContactEntry("sip:bob@example.test"), ContactEntry("what"), replace=True)
    assert report.refused
    assert [(bad.index, bad.address) for bad in report.problems] == [(1, "what")]
    assert contacts.SerializeToString() == before


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ContactEntry(""), "not an address; write sip:user@domain"),
        (ContactEntry("bob"), "not an address; write sip:user@domain"),
        (ContactEntry("sip:example.test"), "not an address; write sip:user@domain"),
        (ContactEntry("sip:<bob>@example.test"), "not an address; write sip:user@domain"),
        (ContactEntry("http://example.test/"), "not an address; write sip:user@domain"),
        (ContactEntry("a@b", "x\x01"), "holds characters that cannot be shown"),
        (ContactEntry("a@b", groups=("x\uffff",)), "holds characters that cannot be shown"),
        (ContactEntry("a@b", "x" * 257), "the contact is too large"),
        (ContactEntry("a@b", groups=(" ",)), "the name of a group is empty or too long"),
        (ContactEntry("a@b", extension=b"<x"), "the extension is no XML: "),
        (ContactEntry("a@b", extension=b"<x/>"), "the extension is no contactExtension element"),
        (ContactEntry("GOOD@example.test"), "the address comes twice"),
    ],
)
def test_bad_entries_leave_the_others(entry: ContactEntry, reason: str) -> None:
    contacts = new_list()
    report = do(contacts, ContactEntry("good@example.test"), entry)
    assert [(bad.index, bad.reason[: len(reason)]) for bad in report.problems] == [(1, reason)]
    assert list(summary(contacts)) == ["sip:good@example.test"]


def test_no_more_contacts_than_there_may_be() -> None:
    contacts = sample()
    report = do(contacts, *(ContactEntry(f"u{n}@b") for n in range(3)), ContactEntry("bob@example.test", "B"), limit=3)
    assert [(bad.index, bad.reason) for bad in report.problems] == [
        (1, "the list is full; it may have 3 contacts"), (2, "the list is full; it may have 3 contacts"),
    ]  # fmt: skip
    assert (report.added, report.changed, len(contacts.contacts)) == (1, 1, 3)
    with pytest.raises(TooLarge, match="4 contacts are too many; a list has at most 3"):
        do(contacts, *(ContactEntry(f"u{n}@b") for n in range(4)), replace=True, limit=3)


def test_no_more_groups_than_there_may_be() -> None:
    contacts = sample()
    with pytest.raises(TooLarge, match="66 groups are too many"):
        do(contacts, *(ContactEntry(f"u{n}@b", groups=(f"g{n}",)) for n in range(64)))
    assert do(sample(), *(ContactEntry(f"u{n}@b", groups=(f"g{n}",)) for n in range(63)), replace=True).groups_added == 63
    with pytest.raises(BadDocument):
        do(sample(), groups=[GroupEntry("\x02")])


def test_groups_that_nobody_is_in() -> None:
    contacts = sample()
    before = pb.ContactList.FromString(contacts.SerializeToString())
    report = do(contacts, groups=[GroupEntry("Empty", "http://x"), GroupEntry("Friends", "urn:y")])
    assert [(group.name, group.external_uri) for group in contacts.groups] == [
        ("~", ""), ("Friends", "urn:y"), ("Empty", "http://x"),
    ]  # fmt: skip
    assert same(told(before, report), contacts)


def test_many_contacts_are_told_in_few_changes_of_moderate_size() -> None:
    contacts = new_list()
    big = b"<contactExtension>" + b"x" * 3_000 + b"</contactExtension>"
    report = do(contacts, *(ContactEntry(f"u{n}@b", extension=big) for n in range(100)))
    assert max(len(contact_delta(delta)) for delta in report.deltas) < 40_000
    assert [len(delta.added) for delta in do(new_list(), *(ContactEntry(f"u{n}@b") for n in range(100))).deltas] == [64, 36]


NAMES = st.sampled_from(["", "A", "B & <C>"])
GROUP_NAMES = st.sampled_from(["~", "Friends", "Work", '"x"'])
ENTRIES = st.lists(
    st.builds(
        ContactEntry, st.sampled_from([f"sip:{user}@example.test" for user in "abcd"]), NAMES,
        st.lists(GROUP_NAMES, max_size=3).map(tuple), st.none() | st.booleans(), st.none() | st.just("urn:x"),
        st.sampled_from([None, b"", EXTENSION]),
    ),
    unique_by=lambda entry: entry.address,
)  # fmt: skip


@given(ENTRIES, ENTRIES, st.booleans())
def test_clients_that_follow_the_changes_have_the_list(
    first: list[ContactEntry], second: list[ContactEntry], replace: bool
) -> None:
    contacts = new_list()
    do(contacts, *first)
    before = pb.ContactList.FromString(contacts.SerializeToString())
    report = do(contacts, *second, replace=replace)
    assert not report.problems
    assert same(told(before, report), contacts)
    assert len(children(parse_xml(contact_list(contacts)), "contact")) == len(contacts.contacts)
    numbers = {group.id for group in contacts.groups}
    assert all(contact.groups and set(contact.groups) <= numbers for contact in contacts.contacts)
    if replace:
        assert set(summary(contacts)) == {entry.address for entry in second}
    groups, entries = exported(contacts)
    assert not import_contacts(contacts, entries, groups, replace=True, limit=100).deltas
