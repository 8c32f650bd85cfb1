"""The directory: import and memory, search against OpenLDAP's own, a large nested group, address-book files.

Both servers have the same people and answer the same searches at the same rate, one after the other on the same machine: the
address book over gRPC, slapd (mdb, with indices of all attributes that are searched) over LDAP. A search is what somebody
types: the beginning of a name, a whole name, a number; it gives the first 20 entries.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ldap3

from bench.tables import Result
from parley.addressbook.entries import Entry
from parley.addressbook.entry_proto import from_proto
from parley.addressbook.files.deltas import BookIndex, plan_delta
from parley.addressbook.files.layout import layout
from parley.addressbook.files.reading import BookFile
from parley.addressbook.files.schema import R2_ATTRIBUTES
from parley.addressbook.files.selection import Selection
from parley.addressbook.files.writing import Table, write_full
from parley.platform.rpc.host import RpcHost
from parley.proto.addressbook.v1 import directory_pb2 as pb
from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryStub
from tests.support.openldap import ADMIN, BASE, PASSWORD, OpenLdap, person_ldif
from tests.support.parley_server import Node
from tests.support.ports import free_port
from tests.support.valkey import Valkey

GIVEN: Final = ("Anna", "Bob", "Carla", "Dora", "Emil", "Frieda", "Gustav", "Hanna", "Ivo", "Jana", "Karl", "Lena")
_RATE: Final = 200
_RESULTS: Final = 20
_THREADS: Final = 8


def _person(number: int) -> tuple[str, str, str, str]:
    """User name, first name, last name and number of somebody."""
    rng = random.Random(number)
    surname = "".join(rng.choice(("ba", "ler", "min", "to", "ka", "ron", "sel", "vi", "du", "gan")) for _ in range(3))
    return f"u{number}", rng.choice(GIVEN), surname.capitalize(), f"+49 30 {number:07}"


def _csv(count: int) -> Iterator[str]:
    yield "address,first,last,display name,mail,nickname,telephone,department\r\n"
    for number in range(count):
        uid, given, surname, phone = _person(number)
        row = (
            f"{uid}@example.test",
            given,
            surname,
            f"{given} {surname}",
            f"{uid}@mail.test",
            uid,
            phone,
            f"D{number % 50}",
        )
        yield ",".join(row) + "\r\n"


def _questions(count: int) -> Iterator[str]:
    rng = random.Random(7)
    while True:
        uid, given, surname, phone = _person(rng.randrange(count))
        yield rng.choice((surname[:4], f"{given} {surname}", uid, surname, phone.replace(" ", "")[3:]))


async def _load(ask: Callable[[str], Awaitable[object]], count: int, seconds: float) -> list[float]:
    """Milliseconds of each search at a steady rate, from when it was due; whether or not those before are answered."""
    loop = asyncio.get_running_loop()
    questions, begun = _questions(count), loop.time()
    times: list[float] = []

    async def one(text: str, due: float) -> None:
        await ask(text)
        times.append((loop.time() - due) * 1000)

    tasks = []
    for number in range(round(seconds * _RATE)):
        due = begun + number / _RATE
        await asyncio.sleep(max(0.0, due - loop.time()))
        tasks.append(asyncio.create_task(one(next(questions), due)))
    await asyncio.gather(*tasks)
    return sorted(times)


def _percentile(times: list[float], part: float) -> str:
    return f"{times[min(len(times) - 1, int(len(times) * part))]:.1f}"


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def directory(work: Path, count: int, seconds: float) -> list[Result]:
    """All of it, with so many people; ``seconds``: of each load of searches."""
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with Valkey(work / "valkey") as valkey:
        platform = {
            "metrics_port": 0, "redis": {"url": valkey.url}, "master_key": "ab" * 32,
            "rpc": {"listen": [f"127.0.0.1:{port}"]},
        }  # fmt: skip
        book = Node(
            work / "book", ["addressbook"], {"platform": platform, "addressbook": {"directory": {"group_limit": 20000}}}
        )
        book.launch()
        host = RpcHost()
        try:
            await book.ready()
            stub: Any = host.channel("parley.addressbook.v1.Directory", f"127.0.0.1:{port}").stub(DirectoryStub)
            imported = await _import(stub, valkey, book, count)
            await _events_are_out(valkey)
            searched = await _search(stub, book, work, count, seconds)
            return [imported, searched, await _groups_and_files(stub, count)]
        finally:
            await host.stop()
            await book.stop()


async def _events_are_out(valkey: Valkey) -> None:
    """Waits until the address book has no more events of the import to publish."""
    while any(valkey.ask("LLEN", f"parley:ab:{{users}}:{name}") for name in ("outbox", "directory-outbox")):
        await asyncio.sleep(0.5)


async def _import(stub: Any, valkey: Valkey, book: Node, count: int) -> Result:
    data = "".join(_csv(count)).encode()

    async def parts() -> Any:
        yield pb.StartImportRequest(options=pb.ImportOptions(name="bench.csv", wait=True))
        for begin in range(0, len(data), 262_144):
            yield pb.StartImportRequest(data=data[begin : begin + 262_144])

    memory, server_cpu = int(valkey.client.info("memory")["used_memory"]), _cpu(book.pid)
    begun = time.perf_counter()
    report = (await stub.StartImport(parts(), timeout=3600.0)).report
    took = time.perf_counter() - begun
    assert report.added == count, report
    used = int(valkey.client.info("memory")["used_memory"]) - memory
    cpu = (_cpu(book.pid) - server_cpu) / count * 1e6
    result = Result(f"Directory: {count:,} users imported from CSV".replace(",", " "), ("measure", "value"))
    result.rows += [
        ("time", f"{took:.0f} s"), ("rows per second", f"{count / took:.0f}"),
        ("CPU of the address book per row", f"{cpu:.0f} µs"), ("memory of Valkey", f"{used / 2**20:.0f} MiB"),
        ("per user: entry, sign-in, index, lookups", f"{used / count / 1024:.1f} KiB"),
    ]  # fmt: skip
    return result


async def _search(stub: Any, book: Node, work: Path, count: int, seconds: float) -> Result:
    result = Result(
        f"Search at {_RATE}/s, first {_RESULTS} entries", ("server", "p50 ms", "p99 ms", "CPU of the server µs/search")
    )  # fmt: skip

    async def ours(text: str) -> object:
        return await stub.Search(pb.SearchRequest(text=text, limit=_RESULTS), timeout=30.0)

    await _load(ours, count, 1.0)
    before = _cpu(book.pid)
    times = await _load(ours, count, seconds)
    cpu = (_cpu(book.pid) - before) / len(times) * 1e6
    result.rows.append(("Parley", _percentile(times, 0.5), _percentile(times, 0.99), f"{cpu:.0f}"))
    server = OpenLdap(work / "slapd")
    server.folder.mkdir(parents=True)
    server.prepare()
    people = map(_person, range(count))
    server.load(
        person_ldif(uid, given, surname, telephoneNumber=phone, displayName=f"{given} {surname}")
        for uid, given, surname, phone in people
    )
    with server:
        times, cpu = await _search_ldap(server, count, seconds)
    result.rows.append(("OpenLDAP, mdb", _percentile(times, 0.5), _percentile(times, 0.99), f"{cpu:.0f}"))
    result.notes.append(
        "OpenLDAP is asked through ldap3 in threads, whose own time is in its figures; its CPU is slapd's alone"
    )
    return result


async def _search_ldap(server: OpenLdap, count: int, seconds: float) -> tuple[list[float], float]:
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(_THREADS):
        made = ldap3.Connection(ldap3.Server(server.url, get_info=ldap3.NONE), ADMIN, PASSWORD, auto_bind=True)
        free.put_nowait(made)

    def ask(connection: Any, text: str) -> None:
        names = ("cn", "sn", "givenName", "uid", "mail", "telephoneNumber")
        terms = "".join(f"({name}={text}*)" for name in names)
        connection.search(BASE, f"(|{terms})", attributes=["cn", "mail", "uid", "telephoneNumber"], size_limit=_RESULTS)

    async def theirs(text: str) -> None:
        connection = await free.get()
        try:
            await asyncio.to_thread(ask, connection, text)
        finally:
            free.put_nowait(connection)

    await _load(theirs, count, 1.0)
    before = _cpu(server.pid)
    times = await _load(theirs, count, seconds)
    cpu = (_cpu(server.pid) - before) / len(times) * 1e6
    while not free.empty():
        free.get_nowait().unbind()
    return times, cpu


async def _groups_and_files(stub: Any, count: int) -> Result:
    exported = [
        entry async for part in stub.ExportEntries(pb.ExportEntriesRequest(), timeout=600.0) for entry in part.entries
    ]
    ids = [entry.id for entry in exported[:10_000]]
    inner = []
    for begin in range(0, len(ids), 1_000):
        group = pb.Entry(kind=pb.ENTRY_KIND_GROUP, display_name=f"Part {begin}")
        group.membership.members.extend(ids[begin : begin + 1_000])
        inner.append((await stub.PutEntry(pb.PutEntryRequest(entry=group), timeout=30.0)).entry.id)
    outer = pb.Entry(kind=pb.ENTRY_KIND_GROUP, display_name="All")
    outer.membership.members.extend(inner)
    whole = (await stub.PutEntry(pb.PutEntryRequest(entry=outer), timeout=30.0)).entry
    begun = time.perf_counter()
    request = pb.ExpandRequest(id=whole.id, nested=True, limit=20_000, reveal=True)
    expanded = await stub.Expand(request, timeout=120.0)
    took = time.perf_counter() - begun
    assert len(expanded.members) == len(ids)
    result = Result("Groups and address-book files", ("measure", "value"))
    result.rows.append((f"nested group of {len(ids):,} members expanded".replace(",", " "), f"{took:.2f} s"))
    entries = [from_proto(entry) for entry in exported]
    for row in _files(entries):
        result.rows.append(row)
    return result


def _files(entries: list[Entry]) -> Iterator[tuple[str, str]]:
    """Sizes and times of a full file, and of a delta after one entry in a hundred has changed."""
    form, selection = layout(unconfirmed=True), Selection(R2_ATTRIBUTES, use_rules=True)
    table = Table(R2_ATTRIBUTES, b"", uses_rules=True)

    def full(day: int, people: list[Entry]) -> bytes:
        contacts = sorted(selection.contacts(people), key=lambda contact: contact.id.bytes)
        return b"".join(write_full(day, table, contacts, form))

    begun = time.perf_counter()
    before = full(9_000, entries)
    took = time.perf_counter() - begun
    yield (
        f"full address-book file of {len(entries):,} entries".replace(",", " "),
        f"{len(before) / 2**20:.1f} MiB, {took:.1f} s",
    )
    later = [replace(entry, title="Changed") if number % 100 == 0 else entry for number, entry in enumerate(entries)]
    after = full(9_001, later)
    begun = time.perf_counter()
    delta = b"".join(plan_delta(BookFile(before, form), BookIndex.of(BookFile(after, form))).pieces(form))
    took = time.perf_counter() - begun
    yield "delta file after one entry in a hundred changed", f"{len(delta) / 1024:.0f} KiB, {took:.1f} s"
