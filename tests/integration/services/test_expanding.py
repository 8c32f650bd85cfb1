"""Groups with rules are expanded with one look at everybody, on a real store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from parley.addressbook.dlx import ExpansionResult
from parley.addressbook.entries import Entry, Kind, Membership
from parley.platform.clock import FakeClock
from parley.platform.store.client import Store
from services.addressbook.directory.expanding import expand
from services.addressbook.directory.repository import Write
from tests.integration.services.directory_rig import Directory, group

pytestmark = pytest.mark.valkey

PEOPLE, GROUPS = 260, 20
TOP = UUID(int=10_000)


async def write(directory: Directory, entries: Sequence[Entry]) -> None:
    await directory.entries.write_many([Write(entry.id, entry) for entry in entries], [None] * len(entries))


def ruled(number: int, rule: str) -> Entry:
    """A dynamic group."""
    made = group(UUID(int=10_000 + number), f"Group {number}")
    return replace(made, membership=Membership(rule=rule))


@pytest.fixture
async def directory(store: Store, clock: FakeClock) -> Directory:
    """People of some departments."""
    made = Directory(store, clock)
    await write(
        made,
        [
            Entry(UUID(int=number), Kind.CONTACT, display_name=f"P {number}", department=f"d{number % GROUPS}")
            for number in range(1, PEOPLE + 1)
        ],
    )
    return made


async def test_nested_rules_need_one_look_at_everybody(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [ruled(number, f'department = "d{number - 1}"') for number in range(1, GROUPS + 1)]
    await write(directory, [*rules, group(TOP, "Top", [entry.id for entry in rules])])
    pages: list[int] = []
    page = directory.entries.page

    async def counted(after: UUID | None, count: int, source: str = "") -> list[UUID]:
        pages.append(count)
        return await page(after, count, source)

    monkeypatch.setattr(directory.entries, "page", counted)
    found = await expand(directory.entries, TOP, nested=True, limit=500)
    assert (found.result, len(found.members)) == (ExpansionResult.OK, PEOPLE)
    assert len(pages) == 4  # 281 entries by 100, and the end
    assert (await expand(directory.entries, TOP, nested=True, limit=PEOPLE - 1)).result is ExpansionResult.TOO_LARGE


async def test_who_fits_several_rules_is_a_member_once(directory: Directory) -> None:
    rules = [ruled(1, 'department = "d1" or department = "d2"'), ruled(2, 'department = "d2"')]
    await write(directory, [*rules, group(TOP, "Top", [entry.id for entry in rules])])
    found = await expand(directory.entries, TOP, nested=True, limit=500)
    assert [entry.department for entry in found.members].count("d2") == PEOPLE // GROUPS
    assert len(found.members) == 2 * PEOPLE // GROUPS


async def test_a_group_that_is_too_large_ends_the_others(directory: Directory) -> None:
    rules = [ruled(number, 'displayName startswith "P"') for number in (1, 2, 3)]
    await write(directory, [*rules, group(TOP, "Top", [entry.id for entry in rules])])
    assert (await expand(directory.entries, TOP, nested=True, limit=20)).result is ExpansionResult.TOO_LARGE
