"""The directory follows a real OpenLDAP: changes, moves, deletions, broken entries, outages; and its passwords."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from grpc import StatusCode
from pydantic import ValidationError

from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.platform.tls import DevelopmentCa
from parley.proto.addressbook.v1 import addressbook_pb2 as users_pb
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory import syncing
from services.addressbook.directory.config import LdapConfig
from services.addressbook.directory.keys import PREFIX
from services.addressbook.directory.ldap.client import LdapClient, LdapError
from tests.integration.services.directory_rig import Directory
from tests.support.openldap import ADMIN, BASE, PASSWORD, OpenLdap, openldap_missing, person_dn

MISSING = openldap_missing()
pytestmark = [pytest.mark.valkey, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]

PEOPLE = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenLdap]:
    """A server with TLS; each test gives it its people."""
    folder = tmp_path_factory.mktemp("openldap")
    ca = DevelopmentCa(folder / "ca")
    files = ca.issue("slapd", ["127.0.0.1"])
    with OpenLdap(folder / "slapd", tls=(files.certificate, files.key, ca.ensure())) as started:
        yield started


@pytest.fixture
def people(server: OpenLdap) -> OpenLdap:
    """The server with some people and a group."""
    with server.connect() as connection:
        for place in ("people", "left", "groups"):
            connection.search(f"ou={place},{BASE}", "(!(objectClass=organizationalUnit))")
            for found in list(connection.response):
                connection.delete(found["dn"])
        for number in range(PEOPLE):
            uid = f"u{number}"
            connection.add(
                person_dn(uid), ["inetOrgPerson"],
                {"givenName": "Given", "sn": f"Number{number}", "cn": f"Given Number{number}", "mail": f"{uid}@example.test",
                 "telephoneNumber": f"030 1234{number:03}", "userPassword": f"{PASSWORD}-{uid}"},
            )  # fmt: skip
        connection.add(
            f"cn=team,ou=groups,{BASE}", ["groupOfNames"],
            {"cn": "team", "member": [person_dn("u1"), person_dn("u2"), f"cn=nobody,{BASE}"]},
        )  # fmt: skip
    return server


def config_of(server: OpenLdap, **values: Any) -> LdapConfig:
    """How the server is read."""
    usual = {
        "url": server.url, "kind": "openldap", "base": BASE, "bind_dn": ADMIN, "password": PASSWORD, "allow_plain": True,
        "domain": "example.test", "login_domain": "EXAMPLE", "page_size": 25, "interval": 60, "full_interval": 3600,
        "timeout": 5, **values,
    }  # fmt: skip
    return LdapConfig(**usual)


@pytest.fixture
def directory(store: Store, clock: FakeClock, people: OpenLdap) -> Directory:
    """A directory that reads the server."""
    return Directory(store, clock, {"main": config_of(people)})


async def sync(directory: Directory, **options: Any) -> pb.SyncReport:
    """One run to its end."""
    await directory.surface.SyncNow(pb.SyncNowRequest(source="main", **options), None)
    await directory.done()
    return (await directory.surface.SyncStatus(pb.SyncStatusRequest(source="main"), None)).reports[0]


async def test_everybody_is_read_and_then_only_what_changed(
    directory: Directory, people: OpenLdap, clock: FakeClock
) -> None:
    clock.advance(time.time() + 1200 - clock.wall())  # the changes are so old that none comes late
    report = await sync(directory)
    assert (report.state, report.full, report.added, report.bad, report.removed) == (pb.JOB_STATE_DONE, True, 61, 0, 0), (
        report
    )
    entry = await directory.get("u7@example.test")
    assert (entry.display_name, entry.origin.source, entry.origin.key) == ("Given Number7", "ldap:main", person_dn("u7"))
    assert entry.numbers[0].normalised == "tel:+49301234007"
    assert await directory.found("number7") == ["Given Number7"]
    people.modify(person_dn("u7"), sn="Changed", cn="Given Changed", title="Boss")
    report = await sync(directory)
    assert (report.full, report.changed, report.added, report.removed) == (False, 1, 0, 0)
    assert report.read < 10
    assert (await directory.get("u7@example.test")).title == "Boss"
    assert await directory.found("changed") == ["Given Changed"]
    report = await sync(directory)
    assert (report.changed, report.added, report.removed) == (0, 0, 0)


async def test_what_changed_just_before_is_read_again_and_changes_nothing(directory: Directory, people: OpenLdap) -> None:
    await sync(directory)  # by a clock that stands long before all changes
    report = await sync(directory)
    assert (report.full, report.read, report.changed, report.added, report.bad) == (False, 61, 0, 0, 0), report


async def test_moves_keep_who_it_is(directory: Directory, people: OpenLdap) -> None:
    await sync(directory)
    before = await directory.get("u3@example.test")
    people.move(person_dn("u3"), "uid=u3", f"ou=left,{BASE}")
    report = await sync(directory)
    assert (report.added, report.changed, report.removed) == (0, 1, 0)
    after = await directory.get("u3@example.test")
    assert (after.id, after.origin.key) == (before.id, person_dn("u3", "left"))


async def test_who_is_gone_is_removed_with_the_next_full_look(
    directory: Directory, people: OpenLdap, clock: FakeClock
) -> None:
    await sync(directory)
    people.delete(person_dn("u5"))
    assert (await sync(directory)).removed == 0
    clock.advance(3600)
    report = await sync(directory)
    assert (report.full, report.removed) == (False, 1)
    with pytest.raises(RpcError):
        await directory.get("u5@example.test")
    request = users_pb.GetUserRequest(address="u5@example.test")
    with pytest.raises(RpcError):
        await directory.users.GetUser(request, None)


async def test_members_are_found_by_their_names_there(directory: Directory, people: OpenLdap) -> None:
    await sync(directory)
    search = await directory.surface.Search(pb.SearchRequest(text="team"), None)
    (team,) = search.entries
    assert list(team.membership.unresolved) == [f"cn=nobody,{BASE}"]
    expanded = await directory.surface.Expand(pb.ExpandRequest(id=team.id), None)
    assert [entry.address for entry in expanded.members] == ["sip:u1@example.test", "sip:u2@example.test"]
    people.modify(f"cn=team,ou=groups,{BASE}", member=[person_dn("u1"), person_dn("u9")])
    await sync(directory)
    expanded = await directory.surface.Expand(pb.ExpandRequest(id=team.id), None)
    assert [entry.address for entry in expanded.members] == ["sip:u1@example.test", "sip:u9@example.test"]


async def test_a_dry_run_changes_nothing(directory: Directory, people: OpenLdap) -> None:
    report = await sync(directory, dry_run=True)
    assert (report.added, len(report.differences), await directory.entries.count()) == (61, 61, 0)
    await sync(directory)
    people.modify(person_dn("u1"), title="Boss")
    report = await sync(directory, dry_run=True)
    assert list(report.differences) == [line for line in report.differences if "title: +Boss" in line]
    assert len(report.differences) == 1
    assert (await sync(directory)).changed == 1  # it was not taken for done


async def test_an_entry_that_cannot_be_taken_leaves_the_others(directory: Directory, people: OpenLdap) -> None:
    people.modify(person_dn("u4"), mail="no mail address at all")
    people.add(person_dn("other"), ["inetOrgPerson"], sn="Other", cn="Other", mail="u8@example.test")
    report = await sync(directory)
    assert (report.state, report.bad, report.added) == (pb.JOB_STATE_DONE, 2, 60), report
    assert person_dn("u4") in {problem.key for problem in report.problems}
    people.modify(person_dn("u4"), mail="u4@example.test")
    assert (await sync(directory)).added == 1


async def test_an_outage_keeps_everybody(store: Store, clock: FakeClock, people: OpenLdap) -> None:
    directory = Directory(store, clock, {"main": config_of(people)})
    await sync(directory)
    people.stop()
    try:
        report = await sync(directory, full=True)
        assert (report.state, report.failures) == (pb.JOB_STATE_FAILED, 1)
        assert "cannot connect" in report.failure
        assert PASSWORD not in report.failure
        assert await directory.entries.count() == 61
        assert (await sync(directory)).failures == 2
        with pytest.raises(RpcError) as caught:
            await directory.check("u1", "whatever it is")
        assert caught.value.code is StatusCode.UNAVAILABLE
    finally:
        people.start()
    report = await sync(directory)
    assert (report.state, report.failures) == (pb.JOB_STATE_DONE, 0)


async def test_a_run_that_loses_its_lease_is_broken_off(
    store: Store, clock: FakeClock, people: OpenLdap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "_LEASE_S", 0.3)
    directory = Directory(store, clock, {"main": config_of(people)})
    write_many = directory.entries.write_many

    async def stand_still(*_: object) -> None:
        await store.execute("SET", f"{PREFIX}sync-lease:main", "another")
        await asyncio.sleep(60)

    monkeypatch.setattr(directory.entries, "write_many", stand_still)
    assert (await asyncio.wait_for(sync(directory), 15)).state == pb.JOB_STATE_RUNNING  # another is at it
    await store.execute("DEL", f"{PREFIX}sync-lease:main")
    (report,) = await directory.syncer.status("main")
    assert report.state == pb.JOB_STATE_FAILED
    monkeypatch.setattr(directory.entries, "write_many", write_many)
    assert (await sync(directory)).added == PEOPLE + 1


async def test_a_look_that_would_remove_very_many_fails(store: Store, clock: FakeClock, people: OpenLdap) -> None:
    await sync(Directory(store, clock, {"main": config_of(people)}))
    narrow = Directory(store, clock, {"main": config_of(people, filter="(uid=u1)")})
    report = await sync(narrow)
    assert report.state == pb.JOB_STATE_FAILED
    assert "60 of 61" in report.failure
    assert await narrow.entries.count() == 61
    wide = Directory(store, clock, {"main": config_of(people, filter="(uid=u1)", most_removed=1)})
    assert (await sync(wide)).removed == 60


async def test_passwords_are_asked_of_the_server_until_there_is_one_here(directory: Directory, people: OpenLdap) -> None:
    await sync(directory)
    for login in ("u6", "u6@example.test", "EXAMPLE\\u6"):
        assert await directory.check(login, f"{PASSWORD}-u6") == "sip:u6@example.test"
    for login, password in (("u6", f"{PASSWORD}-u7"), ("nobody", f"{PASSWORD}-u6"), ("u6", ""), ("u6", "x" * 300)):
        assert await directory.check(login, password) == ""
    request = users_pb.SetPasswordRequest(address="u6@example.test", password="a password here")
    await directory.users.SetPassword(request, None)
    assert await directory.check("u6", f"{PASSWORD}-u6") == ""
    assert await directory.check("u6", "a password here") == "sip:u6@example.test"
    people.modify(person_dn("u6"), title="Boss")
    await sync(directory)
    assert await directory.check("u6", "a password here") == "sip:u6@example.test"  # a sync leaves it


async def test_what_comes_from_a_server_is_changed_there(directory: Directory) -> None:
    await sync(directory)
    entry = await directory.get("u1@example.test")
    entry.title = "Boss"
    for work in (
        directory.put(entry),
        directory.surface.DeleteEntry(pb.DeleteEntryRequest(id=entry.id), None),
        directory.users.DeleteUser(users_pb.DeleteUserRequest(address="u1@example.test"), None),
        directory.users.UpdateUser(users_pb.UpdateUserRequest(address="u1@example.test", display_name="X"), None),
    ):
        with pytest.raises(RpcError) as caught:
            await work
        assert caught.value.code is StatusCode.FAILED_PRECONDITION
    await directory.users.SetEnabled(users_pb.SetEnabledRequest(address="u1@example.test", enabled=False), None)
    await sync(directory, full=True)
    assert not (await directory.credentials("u1")).credentials.enabled
    report = await directory.import_csv("address;display name\nu1@example.test;Somebody else\n")
    assert (report.bad, report.changed, report.added) == (1, 0, 0)


async def test_a_user_who_was_made_here_before_keeps_the_address_and_is_reported(directory: Directory) -> None:
    await directory.create_user("u2@example.test")
    report = await sync(directory)
    assert (report.state, report.bad, report.added) == (pb.JOB_STATE_DONE, 1, 60), report
    (problem,) = report.problems
    mine = await directory.get("u2@example.test")
    assert problem.key == person_dn("u2")
    assert "local) has this address already; remove or change that entry first" in problem.problem
    assert str(UUID(bytes=mine.id)) in problem.problem
    assert mine.origin.source == "local"
    await directory.users.DeleteUser(users_pb.DeleteUserRequest(address="u2@example.test"), None)
    report = await sync(directory, full=True)
    assert (report.bad, report.added) == (0, 1)
    assert (await directory.get("u2@example.test")).origin.source == "ldap:main"


async def test_nobody_makes_a_user_who_comes_from_a_server(directory: Directory) -> None:
    await sync(directory)
    with pytest.raises(RpcError) as caught:
        await directory.create_user("u1@example.test")
    assert caught.value.code is StatusCode.ALREADY_EXISTS
    assert "comes from ldap:main" in caught.value.message


async def test_connections_are_encrypted_and_checked(people: OpenLdap, tmp_path: Path) -> None:
    ca = DevelopmentCa(people.folder.parent / "ca").ensure()
    for values in ({"url": people.tls_url}, {"starttls": True}):
        config = config_of(people, allow_plain=False, ca_file=ca, **values)
        LdapClient("main", config).session().close()
        other = DevelopmentCa(tmp_path / "other").ensure()
        stranger = LdapClient("main", config.model_copy(update={"ca_file": other}))
        with pytest.raises(LdapError):
            stranger.session()
    wrong = LdapClient("main", config_of(people, password="wrong"))
    with pytest.raises(LdapError, match="refuses bind_dn"):
        wrong.session()
    with pytest.raises(ValidationError, match="in the clear"):
        config_of(people, allow_plain=False)


async def test_there_is_no_other_source(directory: Directory) -> None:
    with pytest.raises(RpcError) as caught:
        await directory.surface.SyncNow(pb.SyncNowRequest(source="second"), None)
    assert caught.value.code is StatusCode.NOT_FOUND
