"""Members of groups: direct ones, all of them, and what is not shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.dlx import ExpansionResult
from parley.addressbook.entries import Entry, Kind, Membership
from parley.addressbook.group_rules import Rule
from parley.addressbook.groups import MAX_DEPTH, MAX_WANTED, Expanded, Expansion, expand, resolved
from tests.unit.addressbook.made_up import user


def group(number: int, *members: int, rule: str = "", hidden: bool = False) -> Entry:
    membership = Membership(tuple(UUID(int=member) for member in members), rule=rule, hidden=hidden)
    return Entry(UUID(int=number), Kind.GROUP, display_name=f"G{number}", mail=f"g{number}@x", membership=membership)


PEOPLE = [user(number, f"U{number}") for number in range(1, 6)]


class Directory:
    def __init__(self, *groups: Entry, people: Iterable[Entry] = PEOPLE) -> None:
        self.entries = {entry.id: entry for entry in (*groups, *people)}

    def expand(self, number: int, *, nested: bool = True, limit: int = 100, reveal: bool = False) -> Expanded:
        def matches(rule: Rule) -> Iterable[Entry]:
            return filter(rule.fits, self.entries.values())

        return expand(UUID(int=number), self.entries.get, matches, nested=nested, limit=limit, reveal=reveal)

    def members(self, number: int, *, nested: bool = True, reveal: bool = False) -> list[str]:
        found = self.expand(number, nested=nested, reveal=reveal)
        assert found.result is ExpansionResult.OK, found
        return [entry.name for entry in found.members]


def test_direct_members_are_shown_with_nested_groups() -> None:
    directory = Directory(group(100, 2, 1, 101), group(101, 3))
    assert directory.members(100, nested=False) == ["G101", "U1", "U2"]
    assert directory.members(101, nested=False) == ["U3"]


def test_all_members_are_told_once() -> None:
    directory = Directory(group(100, 1, 101, 102), group(101, 2, 1, 102), group(102, 3, 1))
    assert directory.members(100) == ["U1", "U2", "U3"]


def test_groups_in_a_circle() -> None:
    directory = Directory(group(100, 1, 101), group(101, 2, 102), group(102, 3, 100, 102))
    for number in (100, 101, 102):
        assert directory.members(number) == ["U1", "U2", "U3"]
    assert directory.members(102, nested=False) == ["G100", "U3"]  # it is no member of itself


def test_a_group_that_is_too_large_is_an_error() -> None:
    directory = Directory(group(100, 1, 2, 3), group(101, 100, 4))
    for number, limit, nested in ((100, 2, False), (100, 2, True), (101, 3, True)):
        found = directory.expand(number, limit=limit, nested=nested)
        assert found == Expanded(ExpansionResult.TOO_LARGE, (), f"the group has more than {limit} members")
    assert len(directory.expand(101, limit=4).members) == 4
    assert len(directory.expand(101, limit=2, nested=False).members) == 2


def test_hidden_members() -> None:
    directory = Directory(group(100, 1, 101), group(101, 2, hidden=True))
    refused = directory.expand(101)
    assert (refused.result, refused.members) == (ExpansionResult.NOT_ALLOWED, ())
    assert directory.members(100) == ["G101", "U1"]
    assert directory.members(100, reveal=True) == ["U1", "U2"]
    assert directory.members(101, reveal=True) == ["U2"]


def test_who_is_not_shown_is_no_member_for_others() -> None:
    people = [replace(PEOPLE[0], hidden=True), replace(PEOPLE[1], enabled=False), PEOPLE[2]]
    hidden = replace(group(101, 3), hidden=True)
    directory = Directory(group(100, 1, 2, 3, 101, 99), hidden, people=people)
    assert directory.members(100, nested=False) == ["U3"]
    assert directory.members(100, nested=False, reveal=True) == ["G101", "U1", "U2", "U3"]
    assert directory.expand(101).result is ExpansionResult.NOT_FOUND


@pytest.mark.parametrize("number", [1, 99])
def test_what_is_no_group(number: int) -> None:
    assert Directory().expand(number) == Expanded(ExpansionResult.NOT_FOUND, (), "there is no such group")


def test_dynamic_groups() -> None:
    directory = Directory(
        group(100, 101, 5), group(101, rule='displayName in ("U1", "U2")'), group(102, rule="mail endswith"),
        group(103, rule='displayName startswith "U"'),
    )  # fmt: skip
    assert directory.members(101, nested=False) == ["U1", "U2"]
    assert directory.members(100) == ["U1", "U2", "U5"]
    assert directory.members(100, nested=False) == ["G101", "U5"]
    broken = directory.expand(102)
    assert broken.result is ExpansionResult.DISABLED
    assert broken.problem.startswith("the rule of G102 cannot be used: at character ")
    assert directory.expand(103, limit=4).result is ExpansionResult.TOO_LARGE


def test_dynamic_groups_after_one_that_is_too_large() -> None:
    directory = Directory(
        group(100, 101, 102), group(101, rule='displayName startswith "U"'), group(102, rule='displayName = "U1"')
    )
    assert directory.expand(100, limit=4).result is ExpansionResult.TOO_LARGE
    expansion = Expansion(UUID(int=100), nested=True, limit=4)
    while not expansion.rules:
        expansion.give({id: directory.entries.get(id) for id in expansion.wanted})
    for id in list(expansion.rules):
        expansion.give_matches(id, PEOPLE)
    assert expansion.result == directory.expand(100, limit=4)


def test_groups_that_are_nested_too_deeply() -> None:
    def chain(length: int) -> Directory:
        return Directory(*(group(100 + n, 101 + n) for n in range(length)), group(100 + length, 1))

    assert chain(MAX_DEPTH - 2).members(100) == ["U1"]
    deep = chain(MAX_DEPTH + 1).expand(100)
    assert deep == Expanded(ExpansionResult.TOO_LARGE, (), f"groups are nested more than {MAX_DEPTH} deep")


def test_entries_are_asked_for_level_by_level() -> None:
    directory = Directory(group(100, 1, 101, 102), group(101, 2, 103), group(102, 3, 1), group(103, 4))
    expansion = Expansion(UUID(int=100), nested=True, limit=10)
    asked = []
    while expansion.result is None:
        asked.append(sorted(id.int for id in expansion.wanted))
        expansion.give({id: directory.entries.get(id) for id in expansion.wanted})
    assert asked == [[100], [1, 101, 102], [2, 3, 103], [4]]


def asked_for(directory: Directory, limit: int) -> tuple[list[int], Expanded]:
    """How many entries were wanted each time, and what came of it."""
    expansion = Expansion(UUID(int=100), nested=True, limit=limit)
    asked = []
    while expansion.result is None:
        asked.append(len(expansion.wanted))
        expansion.give({id: directory.entries.get(id) for id in expansion.wanted})
    return asked, expansion.result


def test_a_large_group_is_not_read_to_its_end() -> None:
    people = [user(number, f"U{number}") for number in range(1_000, 3_600)]
    directory = Directory(group(100, *range(1_000, 3_600), 101), group(101, 1), people=[*PEOPLE, *people])
    asked, found = asked_for(directory, 700)
    assert (asked, found.result) == ([1, MAX_WANTED, MAX_WANTED], ExpansionResult.TOO_LARGE)
    asked, found = asked_for(directory, 3_000)
    assert (asked, len(found.members)) == ([1, *[MAX_WANTED] * 5, 101, 1], 2_601)


def test_what_is_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.addressbook.groups.MAX_SEEN", 1_000)
    gone = [group(101 + n, *range(1_000 + 300 * n, 1_300 + 300 * n)) for n in range(4)]
    assert Directory(group(100, 101, 102, 103), *gone).members(100) == []
    found = Directory(group(100, 101, 102, 103, 104), *gone).expand(100)
    assert found == Expanded(ExpansionResult.TOO_LARGE, (), "more than 1000 entries are nested in it")


def test_many_dynamic_groups_are_not_deeper_than_one() -> None:
    dynamic = [group(200 + n, rule='displayName = "U1"') for n in range(MAX_DEPTH + 8)]
    directory = Directory(group(100, 101, *(entry.id.int for entry in dynamic)), group(101, 2), *dynamic)
    assert directory.members(100) == ["U1", "U2"]


GRAPHS = st.dictionaries(st.integers(100, 106), st.lists(st.integers(1, 5) | st.integers(100, 107), max_size=4), max_size=7)


@given(GRAPHS)
def test_all_members_are_those_that_can_be_reached(graph: dict[int, list[int]]) -> None:
    directory = Directory(*(group(number, *members) for number, members in graph.items()))
    for number in graph:
        reached: set[int] = set()
        open_groups, seen = [number], {number}
        while open_groups:
            for member in graph[open_groups.pop()]:
                if member in graph and member not in seen:
                    seen.add(member)
                    open_groups.append(member)
                elif member < 100:
                    reached.add(member)
        assert directory.members(number) == [f"U{member}" for member in sorted(reached)]


def test_members_by_the_names_of_their_source() -> None:
    there = {"cn=a": UUID(int=1), "cn=me": UUID(int=100)}
    named = replace(group(100, 2), membership=Membership((UUID(int=2),), ("cn=a", "cn=b", "cn=me")))
    assert resolved(named, there.get).membership == Membership((UUID(int=2), UUID(int=1)), ("cn=b",))
    plain = group(100, 2)
    assert resolved(plain, there.get) is plain
