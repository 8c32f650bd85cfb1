"""Differences of entries, as a dry run shows them."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.differences import Change, compare, difference
from parley.addressbook.entries import Entry, Membership, NumberKind, Origin, PhoneNumber
from tests.unit.addressbook.made_up import ADA, ENTRIES, FEW, TEAM


def test_a_change_of_texts() -> None:
    found = difference(ADA, replace(ADA, title="Countess", office="", department="Letters"))
    assert str(found) == (
        "changed Ada Lovelace (00000000-0000-0000-0000-000000000001): "
        "title: Analyst -> Countess; department: Engines -> Letters; office: -B12"
    )


def test_members_have_no_order_and_numbers_have() -> None:
    assert TEAM.membership is not None
    turned = replace(TEAM, membership=replace(TEAM.membership, members=TEAM.membership.members[::-1]))
    assert difference(TEAM, turned) is None
    numbers = (PhoneNumber(NumberKind.WORK, "1"), PhoneNumber(NumberKind.WORK, "2"))
    found = difference(replace(ADA, numbers=numbers), replace(ADA, numbers=numbers[::-1]))
    assert found is not None
    assert str(found.fields[0]) == "numbers: -work 1 -work 2 +work 2 +work 1"


def test_bookkeeping_is_no_difference() -> None:
    assert difference(ADA, replace(ADA, version=9, origin=replace(ADA.origin, version="4712"))) is None
    moved = difference(ADA, replace(ADA, origin=Origin("csv", "", "1")))
    assert moved is not None
    assert [str(change) for change in moved.fields] == [
        "source: ldap:head office -> csv", "source_key: -cn=ada,dc=example"
    ]  # fmt: skip


def test_long_lists_are_counted() -> None:
    few, many = (replace(TEAM, membership=Membership(tuple(UUID(int=n) for n in range(count)))) for count in (0, 10))
    found = difference(few, many)
    assert found is not None
    assert str(found.fields[0]).endswith(" and 5 more")
    assert len(found.fields[0].added) == 10


def test_a_directory_against_another() -> None:
    new = replace(ADA, id=UUID(int=77), display_name="New")
    found = list(compare([ADA, TEAM], [new, replace(TEAM, hidden=True)]))
    assert [str(item) for item in found] == [
        f"added New ({new.id})", f"changed Engine team ({TEAM.id}): hidden: no -> yes", f"removed Ada Lovelace ({ADA.id})",
    ]  # fmt: skip


@FEW
@given(ENTRIES, ENTRIES)
def test_differences_say_what_is_gone_and_what_is_new(before: Entry, after: Entry) -> None:
    after = replace(after, id=before.id)
    assert difference(before, before) is None
    forth, back = difference(before, after), difference(after, before)
    assert (forth is None) == (back is None)
    if forth is not None and back is not None:
        assert {(item.field, item.removed, item.added) for item in forth.fields} == {
            (item.field, item.added, item.removed) for item in back.fields
        }
        assert str(forth)


@FEW
@given(st.lists(ENTRIES, max_size=4, unique_by=lambda entry: entry.id))
def test_everything_is_added_and_removed(entries: list[Entry]) -> None:
    assert [item.change for item in compare([], entries)] == [Change.ADDED] * len(entries)
    assert [item.change for item in compare(entries, [])] == [Change.REMOVED] * len(entries)
    assert list(compare(entries, entries)) == []
