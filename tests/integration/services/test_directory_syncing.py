"""What a run does with what a directory server tells, and does not tell; see test_directory_ldap for a real server."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from grpc import StatusCode

from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.proto.addressbook.v1 import addressbook_pb2 as users_pb
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory.keys import OUTBOX
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


async def sync(directory: Directory, *, source: str = "main", **options: bool) -> pb.SyncReport:
    """One run to its end."""
    await directory.surface.SyncNow(pb.SyncNowRequest(source=source, **options), None)
    await directory.done()
    return (await directory.surface.SyncStatus(pb.SyncStatusRequest(source=source), None)).reports[0]


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


# Who stands in the way of others


async def test_who_was_refused_is_taken_as_soon_as_nobody_is_in_the_way(
    directory: Directory, server: ActiveDirectory
) -> None:
    await directory.create_user("p2@example.test", "Local")
    report = await sync(directory)
    assert (report.bad, report.added) == (1, 4)
    report = await sync(directory)
    assert (report.full, report.bad, report.read) == (False, 1, 2), report  # the last change, and who was refused
    await directory.users.DeleteUser(users_pb.DeleteUserRequest(address="p2@example.test"), None)
    report = await sync(directory)
    assert (report.full, report.bad, report.added) == (False, 0, 1)
    assert (await directory.get("p2@example.test")).origin.source == "ldap:main"
    assert (await sync(directory)).read == 1


async def test_what_somebody_had_who_is_gone_another_has_in_the_same_run(
    directory: Directory, server: ActiveDirectory, clock: FakeClock
) -> None:
    await sync(directory)
    person(server, 1, title="Boss")
    del server.entries[UUID(int=2)]
    person(server, 9, sAMAccountName="p2", mail="p2@example.test")
    clock.advance(3600)
    report = await sync(directory)
    assert (report.full, report.bad, report.added, report.changed, report.removed) == (False, 0, 1, 1, 1), report
    assert (await directory.get("p2@example.test")).display_name == "Person 9"
    assert (await directory.credentials("p2")).credentials.display_name == "Person 9"


async def test_who_changed_and_went_in_the_meantime_is_not_written(
    directory: Directory, server: ActiveDirectory, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync(directory)
    person(server, 1, title="Boss")
    pages = server.pages

    def go(filter: str) -> list[RawEntry]:
        found = pages(filter)
        server.entries.pop(UUID(int=1), None)  # right after it was read
        return found

    monkeypatch.setattr(server, "pages", go)
    clock.advance(3600)
    report = await sync(directory)
    assert (report.removed, report.added, report.bad) == (1, 0, 0)
    assert await directory.entries.count() == 4


async def test_members_who_come_later_join(directory: Directory, server: ActiveDirectory, clock: FakeClock) -> None:
    team = UUID(int=100)
    names = [f"CN=Person {number},{BASE}" for number in (1, 6)]
    server.put(team, "Team", objectClass=["top", "group"], member=names)
    person(server, 1)  # the group is not the last change, which is read twice
    await sync(directory)
    person(server, 6)
    assert (await sync(directory)).added == 1
    clock.advance(3600)
    report = await sync(directory)
    assert (report.full, report.changed) == (False, 1)
    expanded = await directory.surface.Expand(pb.ExpandRequest(id=team.bytes), None)
    assert [entry.display_name for entry in expanded.members] == ["Person 1", "Person 6"]


async def test_login_names_follow_the_server(directory: Directory, server: ActiveDirectory, store: Store) -> None:
    person(server, 1, msRTCSIP_PrimaryUserAddress="sip:p1@example.test", sAMAccountName="one")
    await sync(directory)
    assert (await directory.credentials("EXAMPLE\\one")).credentials.address == "sip:p1@example.test"
    assert (await sync(directory, full=True)).changed == 0
    events = await store.execute("LLEN", OUTBOX)
    person(server, 1, msRTCSIP_PrimaryUserAddress="sip:p1@example.test", sAMAccountName="uno")
    report = await sync(directory, dry_run=True)
    assert (report.changed, len(report.differences)) == (1, 1)
    assert "EXAMPLE\\one" in report.differences[0]
    assert "EXAMPLE\\uno" in report.differences[0]
    assert (await sync(directory)).changed == 1
    assert (await directory.credentials("EXAMPLE\\uno")).credentials.address == "sip:p1@example.test"
    assert (await directory.credentials("EXAMPLE\\one")).status.code == StatusCode.NOT_FOUND.value[0]
    assert (await sync(directory, full=True)).changed == 0
    assert await store.execute("LLEN", OUTBOX) == events + 1


async def test_an_import_leaves_login_names_alone(directory: Directory) -> None:
    await directory.create_user("bob@example.test", "Bob", "EXAMPLE\\bob")
    report = await directory.import_csv("address;display name\nbob@example.test;Robert")
    assert (report.bad, report.changed) == (0, 1)
    assert (await directory.credentials("EXAMPLE\\bob")).credentials.display_name == "Robert"


# What is read anew


async def test_a_server_that_was_set_back_is_read_anew(directory: Directory, server: ActiveDirectory) -> None:
    await sync(directory)
    assert not (await sync(directory)).full
    server.usn = 500  # as its backup has it
    person(server, 1, title="Boss")
    report = await sync(directory)
    assert (report.full, report.changed) == (True, 1)
    assert not (await sync(directory)).full


async def test_numbers_that_mean_something_else_are_read_anew(
    store: Store, clock: FakeClock, server: ActiveDirectory
) -> None:
    person(server, 1, telephoneNumber="1234567")
    for area_code, number in (("30", "tel:+49301234567"), ("40", "tel:+49401234567")):
        directory = Directory(store, clock, clients={"main": server}, area_code=area_code)
        assert (await sync(directory)).full
        assert (await directory.get("p1@example.test")).numbers[0].normalised == number
        assert not (await sync(directory)).full


@pytest.mark.parametrize(("moved", "read"), [(-86_400, True), (-120, False), (61, True)])
async def test_a_clock_that_is_set_back_stops_no_run(
    directory: Directory, server: ActiveDirectory, clock: FakeClock, moved: float, read: bool
) -> None:
    await sync(directory)
    clock.advance(moved)
    asked = len(server.asked)
    running = asyncio.create_task(directory.syncer.run("main"))
    for _ in range(40):
        await asyncio.sleep(0.05)
        if len(server.asked) > asked:
            break
    assert (len(server.asked) > asked) is read
    running.cancel()
    await asyncio.wait([running])


async def test_a_clock_that_is_set_back_stops_no_look_at_all(
    directory: Directory, server: ActiveDirectory, clock: FakeClock
) -> None:
    await sync(directory)
    del server.entries[UUID(int=5)]
    clock.advance(-86_400)
    assert (await sync(directory)).removed == 1


# A server that is not configured any more


async def test_entries_of_a_server_that_is_taken_out_are_changed_and_removed_here(
    directory: Directory, store: Store, clock: FakeClock
) -> None:
    await sync(directory)
    without = Directory(store, clock)
    entry = await without.get("p1@example.test")
    entry.title = "Boss"
    changed = await without.put(entry)
    assert (changed.title, changed.origin.source) == ("Boss", "ldap:main")
    await without.surface.DeleteEntry(pb.DeleteEntryRequest(id=entry.id), None)
    await without.users.UpdateUser(users_pb.UpdateUserRequest(address="p2@example.test", display_name="Two"), None)
    assert (await without.get("p2@example.test")).display_name == "Two"
    await without.users.DeleteUser(users_pb.DeleteUserRequest(address="p2@example.test"), None)
    report = await without.import_csv(f"id;address;display name\n{UUID(int=3)};p3@example.test;Three")
    assert (report.bad, report.changed) == (0, 1), report
    assert (await without.get("p3@example.test")).origin.source == "csv"
    assert await without.entries.count("ldap:main") == 2
    made = pb.Entry(kind=pb.ENTRY_KIND_CONTACT, display_name="Ada")
    made.origin.source = "ldap:main"
    with pytest.raises(RpcError, match="come from that server alone"):
        await without.put(made)


async def test_a_server_of_another_name_takes_its_entries_over(
    directory: Directory, server: ActiveDirectory, store: Store, clock: FakeClock
) -> None:
    await sync(directory)
    renamed = ActiveDirectory("head-office")
    renamed.entries, renamed.usn = server.entries, server.usn
    beside = Directory(store, clock, clients={"main": server, "head-office": renamed})
    assert (await sync(beside, source="head-office")).bad == 5
    alone = Directory(store, clock, clients={"head-office": renamed})
    report = await sync(alone, source="head-office")
    assert (report.bad, report.changed) == (0, 5), report
    assert await alone.entries.count("ldap:head-office") == 5
