"""Aggregation, access, publishing and contacts: the rules, as plain functions."""

from __future__ import annotations

import pytest

from parley.presence.access import change_members, effective_container
from parley.presence.aggregation import aggregate, time_text, write_aggregates
from parley.presence.contacts import (
    NoSuchEntry,
    add_group,
    delete_contact,
    delete_group,
    modify_group,
    new_list,
    set_contact,
)
from parley.presence.errors import BadDocument, TooLarge, VersionConflict, WrongVersion
from parley.presence.model import BLOCKED, drop_endpoint, drop_expired, find, new_presentity, next_deadline_ms
from parley.presence.publishing import PublishOperation, publish, visible_categories
from parley.proto.presence.v1 import state_pb2 as pb

ALICE = "sip:alice@example.test"


def state_of(kind: str, availability: int, *, activity: str = "", low: int = 0, high: int = 0) -> pb.StateFacts:
    return pb.StateFacts(
        kind=kind, availability=availability, has_availability=True, activity=activity, min_availability=low,
        max_availability=high,
    )  # fmt: skip


def operation(
    kind: str, availability: int, instance: int, *, version: int = 0, container: int = 2, expires_s: int | None = None,
    expire_type: str = "endpoint", activity: str = "",
) -> PublishOperation:  # fmt: skip
    facts = state_of(kind, availability, activity=activity)
    return PublishOperation("state", instance, container, version, expire_type, expires_s, b"<state/>", facts)


def published(*items: tuple[str, int]) -> pb.Presentity:
    state = new_presentity(ALICE)
    publish(state, [operation(kind, number, 100 + i) for i, (kind, number) in enumerate(items)], "epid", 1_000)
    return state


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], 18500),
        ([("machineState", 3500)], 3500),
        ([("machineState", 3500), ("machineState", 15500)], 3500),
        ([("machineState", 5000), ("machineState", 15500)], 5000),
        ([("machineState", 3500), ("userState", 9500)], 9500),
        ([("machineState", 3500), ("userState", 0)], 3500),
        ([("machineState", 3500), ("userState", 18500)], 18500),
        ([("machineState", 3500), ("calendarState", 6500)], 6500),
        ([("machineState", 5000), ("phoneState", 6500)], 7500),
        ([("machineState", 15500), ("phoneState", 6500)], 15500),
        ([("userState", 3500)], 18500),
        ([("machineState", 0), ("userState", 3500)], 18500),
    ],
)
def test_many_states_are_one(items: list[tuple[str, int]], expected: int) -> None:
    assert aggregate(published(*items), 2).availability == expected


def test_phones_and_calls_count_too() -> None:
    state = new_presentity(ALICE)
    state.endpoints.add(contact="sip:alice@192.0.2.1")
    assert aggregate(state, 2).availability == 3500
    state.calls.add(call_id="1", answered=True)
    assert (aggregate(state, 2).availability, aggregate(state, 2).activity) == (6500, "on-the-phone")
    del state.calls[:]
    state.standard.add(entity_tag="1", availability=15500, expires_at_ms=10)
    assert aggregate(state, 2).availability == 15500


def test_aggregates_are_written_once_and_copied() -> None:
    state = published(("machineState", 3500))
    assert write_aggregates(state, 5)
    assert not write_aggregates(state, 6)
    assert [find(state, ("state", 1, n)) is not None for n in (2, 3, 100, 200, 300, 400, 32000)] == [True] * 6 + [False]
    assert state.availability == 3500


def test_versions_are_checked_together_and_nothing_is_done_on_conflict() -> None:
    state = published(("machineState", 3500))
    operations = [
        operation("machineState", 5000, 100),
        operation("userState", 6500, 7, version=3),
        operation("phoneState", 1, 9),
    ]
    with pytest.raises(VersionConflict) as conflict:
        publish(state, operations, "epid", 2_000)
    assert conflict.value.wrong == [WrongVersion(1, 0, 1), WrongVersion(2, 3, 0)]
    assert len(state.publications) == 1


def test_deleting_what_is_not_there_succeeds() -> None:
    state = new_presentity(ALICE)
    keys = publish(state, [operation("phoneState", 0, 9, expires_s=0)], "epid", 1)
    assert keys == {("state", 9, 2)}
    assert not state.publications


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (PublishOperation("", 1, 2, 0, "static", None, b""), BadDocument),
        (PublishOperation("note", 1, 99_999, 0, "static", None, b""), BadDocument),
        (PublishOperation("note", 1, 2, 0, "never", None, b""), BadDocument),
        (PublishOperation("note", 1, 2, 0, "static", None, b"x" * 40_000), TooLarge),
        (operation("aggregateState", 3500, 1), BadDocument),
    ],
)
def test_publications_that_are_refused(bad: PublishOperation, error: type[Exception]) -> None:
    with pytest.raises(error):
        publish(new_presentity(ALICE), [bad], "epid", 1)
    with pytest.raises(TooLarge):
        publish(new_presentity(ALICE), [bad] * 101, "epid", 1)


def test_what_expires_and_who_leaves() -> None:
    state = new_presentity(ALICE)
    items = [operation("machineState", 3500, 1_001), operation("userState", 3500, 1_002, expire_type="static"),
             operation("phoneState", 6500, 1_003, expire_type="time", expires_s=10)]  # fmt: skip
    publish(state, items, "one", 1_000)
    assert next_deadline_ms(state) == 11_000
    assert drop_expired(state, 10_999) == set()
    assert drop_expired(state, 11_000) == {("state", 1_003, 2)}
    assert drop_endpoint(state, "one") == {("state", 1_001, 2)}
    assert [p.instance for p in state.publications] == [1_002]
    assert visible_categories({("state", 1, 2), ("note", 0, 200)}) == {"note"}


def test_access_of_watchers() -> None:
    state = new_presentity(ALICE)
    assert effective_container(state, "sip:bob@example.test") == 200
    assert effective_container(state, "sip:bob@elsewhere.test") == 100
    numbers, watchers = change_members(state, [(400, 0, [("add", "user", "sip:Bob@example.test")])])
    assert (numbers, watchers) == ({400}, {"bob@example.test"})
    assert effective_container(state, "sip:bob@example.test") == 400
    change_members(state, [(32000, 0, [("add", "domain", "elsewhere.test")])])
    assert effective_container(state, "sip:x@elsewhere.test") == BLOCKED
    with pytest.raises(VersionConflict):
        change_members(state, [(400, 0, [("remove", "user", "bob@example.test")])])
    for member in (("add", "user", ""), ("add", "everyone", "x"), ("put", "everyone", ""), ("add", "friends", "")):
        with pytest.raises(BadDocument):
            change_members(state, [(100, 1, [member])])


def test_contacts_and_groups() -> None:
    contacts = new_list()

    def put(uri: str, groups: list[int], limit: int = 2) -> object:
        return set_contact(
            contacts, uri=uri, name="", groups=groups, subscribed=True, external_uri="", extension=b"", limit=limit
        )

    assert add_group(contacts, "Work", "").added_groups[0].id == 2
    put("sip:bob@example.test", [2, 9])
    put("sip:BOB@example.test", [2, 1])
    assert [(c.uri, list(c.groups)) for c in contacts.contacts] == [("bob@example.test", [2, 1])]
    put("sip:carol@example.test", [])
    assert list(contacts.contacts[1].groups) == [1]
    with pytest.raises(TooLarge):
        put("sip:dora@example.test", [1])
    with pytest.raises(BadDocument):
        put("sip:<x>", [1], 9)
    modify_group(contacts, 2, "Office", "")
    with pytest.raises(BadDocument):
        modify_group(contacts, 2, "~", "")
    deltas = delete_group(contacts, 2)
    assert [bool(delta.modified) for delta in deltas] == [True, False]
    assert deltas[-1].deleted_groups == (2,)
    assert delete_contact(contacts, "sip:bob@example.test").deleted == ("bob@example.test",)
    assert contacts.delta == 1 + 1 + 2 + 1 + 1 + 2 + 1
    for change in (lambda: delete_contact(contacts, "x"), lambda: delete_group(contacts, 7)):
        with pytest.raises(NoSuchEntry):
            change()
    with pytest.raises(BadDocument):
        delete_group(contacts, 1)


def test_times() -> None:
    assert time_text(1_233_656_472_045) == "2009-02-03T10:21:12.045"
