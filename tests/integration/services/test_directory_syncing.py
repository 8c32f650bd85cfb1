"""What a run does with what a directory server tells, and does not tell; see test_directory_ldap for a real server."""

from __future__ import annotations

from uuid import UUID

import pytest

from parley.platform.clock import FakeClock
from parley.platform.store.client import Store
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory.ldap.client import RawEntry
from tests.integration.services.active_directory import BASE, ActiveDirectory
from tests.integration.services.directory_rig import Directory

pytestmark = pytest.mark.valkey


@pytest.fixture
def server() -> ActiveDirectory:
    """A server with five people, p1 to p5."""
    made = ActiveDirectory()
    for number in range(1, 6):
        person(made, number)
    return made


@pytest.fixture
def directory(store: Store, clock: FakeClock, server: ActiveDirectory) -> Directory:
    """A directory that reads the server."""
    return Directory(store, clock, clients={"main": server})


def person(server: ActiveDirectory, number: int, **attributes: str | list[str]) -> None:
    """Puts a person."""
    values = {"sAMAccountName": f"p{number}", "mail": f"p{number}@example.test", **attributes}
    server.put(UUID(int=number), f"Person {number}", **values)


async def sync(directory: Directory, **options: bool) -> pb.SyncReport:
    """One run to its end."""
    await directory.surface.SyncNow(pb.SyncNowRequest(source="main", **options), None)
    await directory.done()
    return (await directory.surface.SyncStatus(pb.SyncStatusRequest(source="main"), None)).reports[0]


# Who is gone


async def test_an_answer_without_anybody_removes_nobody(directory: Directory, server: ActiveDirectory) -> None:
    assert (await sync(directory)).added == 5
    server.entries.clear()
    report = await sync(directory, full=True)
    assert (report.state, report.removed) == (pb.JOB_STATE_FAILED, 0)
    assert "the server tells of nobody" in report.failure
    assert await directory.entries.count() == 5


async def test_while_ids_cannot_be_read_nobody_is_removed_and_changes_are_taken(
    directory: Directory, server: ActiveDirectory
) -> None:
    await sync(directory)
    del server.entries[UUID(int=5)]
    server.nameless.append(RawEntry(f"CN=Person 5,{BASE}", {"cn": [b"Person 5"]}))
    person(server, 1, title="Boss")
    report = await sync(directory, full=True)
    assert (report.state, report.removed, report.changed) == (pb.JOB_STATE_FAILED, 0, 1)
    assert "1 have no objectGUID" in report.failure
    assert (await directory.get("p1@example.test")).title == "Boss"
    server.nameless.clear()
    assert (await sync(directory, full=True)).removed == 1


@pytest.mark.parametrize(("gone", "removed"), [(3, 3), (4, 0)])
async def test_of_few_three_may_be_removed(directory: Directory, server: ActiveDirectory, gone: int, removed: int) -> None:
    await sync(directory)
    for number in range(1, gone + 1):
        del server.entries[UUID(int=number)]
    report = await sync(directory, full=True)
    assert (report.removed, bool(report.failure)) == (removed, not removed)
    assert await directory.entries.count() == 5 - removed
