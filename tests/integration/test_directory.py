"""A running address book follows a real OpenLDAP of 10 000 people, whatever is killed; and its command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from parley.platform.clock import FakeClock
from services.addressbook.directory.keys import BY_ADDRESS
from tests.integration.services.directory_rig import Directory
from tests.integration.services.rig import store_of
from tests.support.openldap import ADMIN, BASE, PASSWORD, OpenLdap, openldap_missing, person_dn, person_ldif
from tests.support.parley_server import Node
from tests.support.ports import free_port
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

MISSING = openldap_missing()
pytestmark = [pytest.mark.valkey, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]

PEOPLE = 10_000
SOME = 113
"""Of the command line: p8, p9, and those from p5...0."""
ROWS = 6_000
"""Of a CSV file."""
GIVEN = ["Anna", "Bob", "Carla", "Dora", "Emil", "Frieda", "Gustav", "Hanna"]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenLdap]:
    """A server with many people, of whom one cannot be taken, and a group of 50."""
    server = OpenLdap(tmp_path_factory.mktemp("openldap") / "slapd")
    server.folder.mkdir(parents=True)
    server.prepare()
    entries = [person_ldif(f"p{number}", GIVEN[number % 8], f"Person{number}") for number in range(PEOPLE)]
    entries[17] = entries[17].replace("mail: p17@example.test", "mail: no mail address")
    members = "\n".join(f"member: {person_dn(f'p{number}')}" for number in range(100, 150))
    entries.append(f"dn: cn=some,ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: some\n{members}")
    server.load(entries)
    with server:
        yield server


class Site:
    """A Valkey and an address book that reads the server."""

    def __init__(self, folder: Path, server: OpenLdap, **ldap: Any) -> None:
        self.valkey = Valkey(folder / "valkey")
        source = {
            "url": server.url, "kind": "openldap", "base": BASE, "bind_dn": ADMIN, "password": PASSWORD, "allow_plain": True,
            "domain": "example.test", "interval": 1, "full_interval": 5, **ldap,
        }  # fmt: skip
        platform = {
            "metrics_port": 0, "redis": {"url": self.valkey.url}, "master_key": "ab" * 32,
            "rpc": {"listen": [f"127.0.0.1:{free_port()}"]},
        }  # fmt: skip
        book = {"domains": ["example.test"], "directory": {"ldap": {"main": source}}}
        self.book = Node(folder / "book", ["addressbook"], {"platform": platform, "addressbook": book})

    async def start(self) -> None:
        """Starts both."""
        await asyncio.to_thread(self.valkey.start)
        self.book.launch()
        await self.book.ready()

    async def stop(self) -> None:
        """Ends both."""
        await self.book.stop()
        self.valkey.stop()

    def entries(self) -> int:
        """How many there are."""
        return int(self.valkey.ask("ZCARD", "parley:ab:{users}:ids"))

    async def json(self, *arguments: str) -> Any:
        """What a command says."""
        done = await self.book.parley("--json", "directory", *arguments)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
async def site(tmp_path: Path, people: OpenLdap) -> Any:
    """A running address book."""
    made = Site(tmp_path, people)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


async def whole(site: Site, count: int) -> None:
    """Waits until everybody is there."""

    async def there() -> bool:
        return site.entries() == count

    await eventually(there, timeout=180)


async def check(site: Site) -> None:
    """Lookups, users and the index are what the entries say."""
    async with store_of(site.valkey.url) as store:
        directory = Directory(store, FakeClock())
        entries = [entry async for entry in directory.entries.export()]
        users = sum(entry.address != "" for entry in entries)
        assert len({entry.id for entry in entries}) == len(entries)
        assert site.valkey.ask("HLEN", "parley:ab:{users}:by-address") == users
        assert site.valkey.ask("ZCARD", "parley:ab:{users}:index") == users
        assert site.valkey.ask("ZCARD", "parley:ab:{users}:i1:m") == len(entries)
        found = await directory.found("dora", 1000)
        assert len(found) == sum(entry.given_name == "Dora" for entry in entries) > 1000


async def test_ten_thousand_people_arrive_whoever_is_killed(site: Site, people: OpenLdap) -> None:
    async def some() -> bool:
        return site.entries() > 1500

    await eventually(some, timeout=120)
    site.book.kill()
    assert 0 < site.entries() < PEOPLE
    site.book.launch()
    await site.book.ready()
    before = site.entries()

    async def more() -> bool:
        return site.entries() > before + 1500

    await eventually(more, timeout=120)
    await asyncio.to_thread(site.valkey.kill)
    await asyncio.to_thread(site.valkey.start)
    await whole(site, PEOPLE)  # one of the people cannot be taken, and there is a group
    await check(site)

    # What changes there arrives within the interval; who is gone, within the other.
    people.modify(person_dn("p1"), sn="Changed", cn="Bob Changed")
    people.move(person_dn("p2"), "uid=p2", f"ou=left,{BASE}")
    people.delete(person_dn("p3"))
    people.add(person_dn("new"), ["inetOrgPerson"], sn="New", cn="Nina New", mail="new@example.test")

    async def arrived() -> bool:
        async with store_of(site.valkey.url) as store:
            directory = Directory(store, FakeClock())
            found = await directory.found("bob changed"), await directory.found("nina new")
            gone = await directory.entries.find(BY_ADDRESS, "sip:p3@example.test")
            moved = await directory.entries.find(BY_ADDRESS, "sip:p2@example.test")
            return all(found) and gone is None and moved is not None and moved.origin.key == person_dn("p2", "left")

    await eventually(arrived, timeout=60)
    await check(site)
    group = await site.json("groups", "members", (await site.json("search", "some", "--kind", "group"))[0]["id"])
    assert len(group) == 50


async def import_begun(site: Site, file: Path) -> asyncio.Task[CompletedProcess[str]]:
    """An import that has written something; one that was killed is in the way of the next while its lock is held."""
    before = site.entries()
    async with asyncio.timeout(90):
        while True:
            importing = asyncio.create_task(site.book.parley("directory", "import", str(file)))
            while not importing.done():
                if site.entries() > before:
                    return importing
                await asyncio.sleep(0.02)
            refused = importing.result()
            assert "is under way" in refused.stdout + refused.stderr, refused
            await asyncio.sleep(1)


async def test_a_file_is_imported_again_after_a_kill_without_duplicates(tmp_path: Path, people: OpenLdap) -> None:
    """Of the address book, and then of the store: the command fails with a sentence, and the next one makes up for it."""
    site = Site(tmp_path, people, filter="(uid=nobody)", full_interval=3600)
    rows = "".join(f"q{number}@example.test,Quinn {number},q{number}@mail.test\n" for number in range(ROWS))
    file = tmp_path / "people.csv"
    file.write_text(f"address,display name,mail\n{rows}")
    try:
        await site.start()
        for kill in (site.book.kill, site.valkey.kill):
            importing = await import_begun(site, file)
            await asyncio.to_thread(kill)
            failed = await importing
            assert failed.returncode not in (0, None)
            assert "Traceback" not in failed.stderr
            assert failed.stderr.strip()
            if kill == site.book.kill:
                site.book.launch()
                await site.book.ready()
            else:
                await asyncio.to_thread(site.valkey.start)
            assert 0 < site.entries() < ROWS
        async with asyncio.timeout(90):  # the one that was broken off may go on, now that the store is back
            while "is under way" in (done := await site.book.parley("directory", "import", str(file))).stderr:
                await asyncio.sleep(1)
        assert done.returncode == 0, done.stderr
        assert site.entries() == ROWS
        async with store_of(site.valkey.url) as store:
            directory = Directory(store, FakeClock())
            addresses = {entry.address async for entry in directory.entries.export()}
            assert addresses == {f"sip:q{number}@example.test" for number in range(ROWS)}
            assert site.valkey.ask("ZCARD", "parley:ab:{users}:i1:m") == ROWS
            assert len(await directory.found("quinn", 1000)) == ROWS
    finally:
        await site.stop()


async def test_the_command_line(tmp_path: Path, people: OpenLdap) -> None:
    site = Site(tmp_path, people, filter="(|(uid=p8)(uid=p9)(uid=p5*0))", full_interval=3600)
    try:
        await site.start()
        await use_the_command_line(site, tmp_path)
    finally:
        await site.stop()


async def use_the_command_line(site: Site, tmp_path: Path) -> None:
    """All commands once."""
    await whole(site, SOME)

    table = await site.book.parley("directory", "search", "anna", "person8")
    assert table.returncode == 0
    assert "Anna Person8" in table.stdout
    file = tmp_path / "people.csv"
    file.write_text("address,display name,phone\nzoe@example.test,Zoë Zimmer,+49 30 1234567\nbroken@@,X,\n")
    dry = await site.book.parley("directory", "import", str(file), "--dry-run")
    assert (dry.returncode, "1 added" in dry.stdout, "added Zoë Zimmer" in dry.stdout) == (1, True, True), dry.stderr
    assert "line 3" in dry.stderr
    imported = await site.book.parley("directory", "import", str(file))
    assert (imported.returncode, "1 added" in imported.stdout) == (1, True)
    assert (await site.json("search", "zimmer"))[0]["address"] == "zoe@example.test"
    made = await site.book.parley("directory", "groups", "create", "Friends", "--mail", "friends@example.test")
    assert made.returncode == 0, made.stderr
    joined = await site.book.parley("directory", "groups", "add", "friends@example.test", "zoe@example.test")
    assert joined.returncode == 0, joined.stderr
    assert [entry["address"] for entry in await site.json("groups", "members", "friends@example.test")] == [
        "zoe@example.test"
    ]
    assert (await site.book.parley("directory", "groups", "add", "friends@example.test", "nobody@x.test")).returncode == 3
    assert (await site.json("rebuild-index"))["indexed"] == SOME + 2
    assert (await site.json("search", "zimmer"))[0]["address"] == "zoe@example.test"
    assert (await site.book.parley("directory", "sync", "other")).returncode == 3
    synced = await site.book.parley("directory", "sync", "main", "--full")
    assert f"{SOME} read" in synced.stdout or "is under way" in synced.stderr, synced.stdout + synced.stderr
    exported = tmp_path / "all.csv"
    assert (await site.book.parley("directory", "export", str(exported))).returncode == 0
    assert exported.read_text().count("\n") == SOME + 3
    assert (await site.book.parley("directory", "delete", "zoe@example.test", "--yes")).returncode == 0
    assert (await site.book.parley("directory", "show", "zoe@example.test")).returncode == 3
    assert (await site.book.parley("directory", "delete", "p9@example.test", "--yes")).returncode == 1  # of LDAP
