"""Address-book files on a real store: what is made, when, by whom, and what stays when something goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from uuid import UUID

import pytest
from grpc import StatusCode

from parley.addressbook.entries import Kind, Membership
from parley.addressbook.errors import BookFileError, EntryError
from parley.addressbook.files.contacts import Contact
from parley.addressbook.files.deltas import apply_delta
from parley.addressbook.files.names import day_of, delta_name, full_name
from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreUnavailable
from parley.proto.addressbook.v1 import book_files_pb2 as pb
from services.addressbook.blobs import PIECE, BlobDamaged, BlobGone, BlobStore
from services.addressbook.files.manifest import LEASE, MANIFEST, SwitchError
from services.addressbook.files.runs import GRACE_S, Busy
from services.addressbook.files.service import BookFilesSurface
from tests.integration.services.rig import all_keys, store_of
from tests.support.book_files import Files, person, start_and_kill_later
from tests.support.valkey import Valkey, ValkeyCluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

DAY = 86_400
MIDNIGHT = 1_750_032_000.0
"""2025-06-16, 00:00 UTC."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=MIDNIGHT + 2 * 3_600)


def today(clock: FakeClock) -> int:
    return day_of(clock.wall())


async def test_the_first_day_has_full_files_alone(store: Store, clock: FakeClock) -> None:
    team = person(9, "Team", kind=Kind.GROUP, address="", mail="team@example.test", membership=Membership((UUID(int=1),)))
    files = Files(store, clock, [person(2, "Bob"), person(1, "Ada"), person(3, hidden=True), team], rules=b"^x$\r\n+1\r\n")
    assert await files.runs.make()
    day = today(clock)
    assert await files.names() == [f"F-{day:04X}.dabs", f"F-{day:04X}.lsabs"]
    book = await files.book(str(full_name(day)))
    assert (book.day, book.table.uses_rules, book.table.rules) == (day, True, b"^x$\r\n+1\r\n")
    ids = {attribute.name: attribute.id for attribute in book.table.attributes}
    ada, bob, group = book.contacts()  # in the order of their UUIDs
    assert ada.all(ids["displayName"]) == ["Ada"]
    assert ada.all(ids["msRTCSIP-PrimaryUserAddress"]) == ["sip:p1@example.test"]
    assert ada.all(ids["telephoneNumber"]) == ["030 000001", "tel:+4930000001"]
    assert ada.all(ids["mail"]) == ["p1@example.test"]
    assert bob.all(ids["displayName"]) == ["Bob"]
    assert group.all(ids["groupType"]) == ["8"]
    phones = await files.book(str(full_name(day, devices=True)))
    assert {attribute.name for attribute in phones.table.attributes} < set(ids)
    assert [contact.all(ids["displayName"]) for contact in phones.contacts()] == [["Ada"], ["Bob"], ["Team"]]


async def test_files_of_changes_lead_from_each_day_before_to_today(store: Store, clock: FakeClock) -> None:
    files = Files(store, clock, [person(number) for number in range(1, 41)])
    assert await files.runs.make()
    first = today(clock)
    clock.advance(DAY)
    files.entries.entries[4] = person(5, "Renamed")
    assert await files.runs.make()
    clock.advance(DAY)
    del files.entries.entries[0]
    files.entries.entries.append(person(41))
    assert await files.runs.make()
    last = today(clock)
    names = set(await files.names())
    assert {str(delta_name(first, last)), str(delta_name(first + 1, last)), str(delta_name(first, first + 1))} <= names
    assert {str(full_name(day, devices=devices)) for day in (first, first + 1, last) for devices in (False, True)} <= names
    whole = {contact.id: contact for contact in (await files.book(str(full_name(last)))).contacts()}
    for base in (first, first + 1):
        state: dict[UUID, Contact] = {c.id: c for c in (await files.book(str(full_name(base)))).contacts()}
        assert state != whole
        apply_delta(state, await files.book(str(delta_name(base, last))))
        assert state == whole


async def test_too_many_changes_give_no_file_of_changes(store: Store, clock: FakeClock) -> None:
    files = Files(store, clock, [person(number) for number in range(1, 41)])
    assert await files.runs.make()
    first = today(clock)
    clock.advance(DAY)
    files.entries.entries[:6] = [person(number, "Renamed") for number in range(1, 7)]  # 6 of 40 are more than an eighth
    assert await files.runs.make()
    assert str(delta_name(first, today(clock))) not in await files.names()


async def test_files_are_kept_so_many_days_and_then_their_pieces_go(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    files = Files(store, clock, [person(number) for number in range(1, 20)], keep_days=3)
    for _ in range(6):
        assert await files.runs.make()
        clock.advance(DAY)
    day = today(clock) - 1
    fulls = {str(full_name(day - back, devices=devices)) for back in range(3) for devices in (False, True)}
    names = set(await files.names())
    assert {name for name in names if name.startswith("F-")} == fulls
    days = [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (4, 2)]
    deltas = {str(delta_name(day - base, day - to)) for base, to in days}
    assert {name for name in names if name.endswith(".lsabs") and name.startswith("D-")} == deltas
    await store.execute("HSET", MANIFEST, "x", "1")  # nothing that is not ours is touched
    clock.advance(2 * GRACE_S - DAY)
    await files.runs.look()
    kept = (await files.manifest.current()).blobs
    assert {key for key in all_keys(valkey) if "{files-" in key} == {files.blobs.key(id) for id in kept}
    assert {raw.decode() for raw in valkey.ask("ZRANGE", files.blobs.registry, 0, -1)} == kept


async def test_they_are_made_once_a_day_at_the_time_that_is_configured(store: Store, clock: FakeClock) -> None:
    files = Files(store, clock, [person(1)], at="06:00")
    await files.runs.look()  # at once, as there are none
    clock.advance(DAY)  # 02:00
    await files.runs.look()
    assert (await files.manifest.current()).manifest.day == today(clock) - 1
    clock.advance(4 * 3_600)
    await files.runs.look()
    made = (await files.manifest.current()).manifest.made_at_ms
    assert made == round(clock.wall() * 1000)
    clock.advance(60)
    await files.runs.look()
    assert (await files.manifest.current()).manifest.made_at_ms == made
    clock.advance(23 * 3_600)  # 05:01 of the next day
    await files.runs.look()
    assert (await files.manifest.current()).manifest.made_at_ms == made
    clock.advance(3 * DAY)  # everything was down: made up for at once
    await files.runs.look()
    assert (await files.manifest.current()).manifest.day == today(clock)


async def test_one_of_the_replicas_makes_them(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    async with store_of(valkey.url) as another:
        files, other = Files(store, clock, [person(1)]), Files(another, clock, [person(1)])
        files.entries.hold = asyncio.Event()
        making = asyncio.create_task(files.runs.make())
        await files.entries.reading.wait()
        with pytest.raises(Busy):
            await other.runs.make()
        await other.runs.look()  # it is another's work
        assert await other.names() == []
        files.entries.hold.set()
        assert await making
        assert len(await other.names()) == 2
        assert not await other.runs.lease.is_held()


async def test_who_lost_the_lease_changes_nothing(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    async with store_of(valkey.url) as another:
        files, other = Files(store, clock, [person(1)]), Files(another, clock, [person(1), person(2)])
        files.entries.hold = asyncio.Event()
        making = asyncio.create_task(files.runs.make())
        await files.entries.reading.wait()
        valkey.ask("DEL", LEASE)  # as after a long silence
        assert await other.runs.make()
        files.entries.hold.set()
        assert not await making
        assert (await files.manifest.current()).manifest.entries == 2
        assert b"took so long" in valkey.ask("HGET", "parley:ab:{files}:problem", "text")
        async with other.runs.lease.hold() as held:
            assert held is not None
            before = await other.manifest.current()
            valkey.ask("HSET", MANIFEST, "v", before.version + 1)
            with pytest.raises(SwitchError, match="meanwhile"):
                await other.manifest.switch(before, before.manifest, held)


async def test_a_run_that_loses_its_lease_is_broken_off(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    files = Files(store, clock, [person(1)], lease_s=0.3)
    files.entries.hold = asyncio.Event()
    making = asyncio.create_task(files.runs.make())
    await files.entries.reading.wait()
    valkey.ask("SET", LEASE, "another")
    assert not await asyncio.wait_for(making, 10)
    assert b"another process may have taken it over" in valkey.ask("HGET", "parley:ab:{files}:problem", "text")


@pytest.mark.parametrize(
    "failure",
    [
        BookFileError("a contact is too large"),
        EntryError("v", "it was written by a later version"),
        StoreUnavailable("the store is away"),
    ],
)
async def test_a_run_that_fails_leaves_the_files_and_is_tried_again(
    store: Store, clock: FakeClock, failure: Exception, valkey: Valkey
) -> None:
    files = Files(store, clock, [person(1)])
    assert await files.runs.make()
    names = await files.names()
    clock.advance(DAY)
    files.entries.failure = failure
    await files.runs.look()
    assert await files.names() == names
    assert await files.book(names[-1])
    assert valkey.ask("HGET", "parley:ab:{files}:problem", "text").decode() == str(failure)
    files.entries.failure = None
    await files.runs.look()  # not at once
    assert await files.names() == names
    clock.advance(301)
    await files.runs.look()
    assert (await files.manifest.current()).manifest.day == today(clock)
    assert not valkey.ask("EXISTS", "parley:ab:{files}:problem")


async def test_a_file_that_is_too_large_fails_the_run(store: Store, clock: FakeClock) -> None:
    files = Files(store, clock, [person(number, "x" * 250) for number in range(1, 5_000)], max_bytes=1_048_576)
    assert not await files.runs.make()
    assert await files.names() == []


async def test_an_old_file_that_is_damaged_gives_no_file_of_changes(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    files = Files(store, clock, [person(number) for number in range(1, 20)])
    assert await files.runs.make()
    first = today(clock)
    kept = (await files.manifest.current()).by_name[str(full_name(first)).lower()]
    raw = bytearray(valkey.ask("HGET", files.blobs.key(kept.blob), 0))
    raw[-1] ^= 1
    await store.execute("HSET", files.blobs.key(kept.blob), 0, bytes(raw))
    with pytest.raises(BlobDamaged):
        await files.data(str(full_name(first)))
    clock.advance(DAY)
    assert await files.runs.make()
    names = await files.names()
    assert str(delta_name(first, today(clock))) not in names
    assert str(delta_name(first, today(clock), devices=True)) in names


async def test_a_process_that_is_killed_leaves_the_files_there_were(
    store: Store, clock: FakeClock, valkey: Valkey, tmp_path: Path
) -> None:
    files = Files(store, clock, [person(1)])
    assert await files.runs.make()
    before = (await files.manifest.current()).version
    data = {name: await files.data(name) for name in await files.names()}
    process = start_and_kill_later(valkey.url, 3_000, tmp_path / "out")
    try:

        async def is_reading() -> bool:
            assert process.poll() is None, (tmp_path / "out").read_text()
            return "reading" in (tmp_path / "out").read_text()

        await eventually(is_reading, timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (await files.manifest.current()).version == before
    assert {name: await files.data(name) for name in await files.names()} == data
    keys = {key for key in all_keys(valkey) if "{files-" in key}
    assert len(keys) == 3  # one is nobody's

    async def is_free() -> bool:
        return not await files.runs.lease.is_held()

    await eventually(is_free, what="the lease of the killed process ends")
    assert await files.runs.make()
    assert (await files.manifest.current()).version == before + 1


async def test_reading_by_name_and_range(store: Store, clock: FakeClock) -> None:
    files = Files(store, clock, [person(number, f"{number} " + "é" * 200) for number in range(1, 1_500)])
    assert await files.runs.make()
    surface = BookFilesSurface(store, files.manifest, files.blobs, files.runs, lambda *_: None)  # type: ignore[arg-type]
    name = str(full_name(today(clock)))
    data = await files.data(name)
    assert len(data) > 2 * PIECE
    info = (await surface.GetFile(pb.GetFileRequest(name=name.lower()), None)).file
    assert (info.name, info.size, info.contacts) == (name, len(data), 1_499)
    for first, count in ((0, 0), (10, 5), (PIECE - 1, 2), (PIECE, PIECE), (len(data) - 1, 0), (len(data), 0), (5, 2**40)):
        request = pb.ReadFileRequest(name=name, sha256=info.sha256, first=first, count=count)
        found = b"".join([answer.data async for answer in surface.ReadFile(request, None)])
        assert found == (data[first : first + count] if count else data[first:])
    for wrong, code in (
        (pb.ReadFileRequest(name=name, sha256=b"other"), StatusCode.NOT_FOUND),
        (pb.ReadFileRequest(name=name, first=len(data) + 1), StatusCode.OUT_OF_RANGE),
        (pb.ReadFileRequest(name="F-0000.lsabs"), StatusCode.NOT_FOUND),
        (pb.ReadFileRequest(name="../F-0000.lsabs"), StatusCode.NOT_FOUND),
    ):
        with pytest.raises(RpcError) as caught:
            assert [answer async for answer in surface.ReadFile(wrong, None)] == []
        assert caught.value.code is code


async def test_a_file_that_was_replaced_is_read_to_its_end(store: Store, clock: FakeClock) -> None:
    files = Files(store, clock, [person(number, f"{number} " + "é" * 200) for number in range(1, 1_500)])
    assert await files.runs.make()
    kept = (await files.manifest.current()).by_name[str(full_name(today(clock))).lower()]
    reading = files.blobs.read(kept.blob, kept.file.size)
    first = await anext(reading)
    files.entries.entries.pop()
    assert await files.runs.make()
    await files.runs.look()
    assert len(first) + sum([len(piece) async for piece in reading]) == kept.file.size
    clock.advance(GRACE_S + 1)
    await files.runs.look()
    with pytest.raises(BlobGone):
        await files.blobs.load(kept.blob, kept.file.size)


async def test_without_a_layout_there_is_nothing(store: Store, clock: FakeClock) -> None:
    files = Files(store, clock, [person(1)])
    assert await files.runs.make()
    surface = BookFilesSurface(store, files.manifest, files.blobs, None, lambda *_: None)  # type: ignore[arg-type]
    assert not (await surface.ListFiles(pb.ListFilesRequest(), None)).files
    assert not (await surface.GetFilesStatus(pb.GetFilesStatusRequest(), None)).enabled
    with pytest.raises(RpcError, match=r"addressbook\.files\.layout"):
        await surface.MakeFiles(pb.MakeFilesRequest(), None)
    with pytest.raises(RpcError, match="NOT_FOUND"):
        await surface.GetFile(pb.GetFileRequest(name=str(full_name(today(clock)))), None)


async def test_on_a_cluster(valkey_cluster: ValkeyCluster, clock: FakeClock) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        files = Files(store, clock, [person(number) for number in range(1, 20)])
        assert await files.runs.make()
        clock.advance(DAY)
        assert await files.runs.make()
        assert (await files.book(str(delta_name(today(clock) - 1, today(clock))))).contact_count == 0
        clock.advance(2 * GRACE_S)
        await files.runs.look()
        assert len(await files.names()) == 6


async def test_what_is_registered_and_never_written_is_swept(store: Store, clock: FakeClock) -> None:
    blobs = BlobStore(store, clock, "files")
    made = await blobs.write([b"a" * PIECE, b"b"])
    assert await blobs.present(made.id) == {0, 1}
    assert await blobs.sweep({made.id}, grace_s=-1) == 0
    assert await blobs.sweep(set(), grace_s=60) == 0
    clock.advance(61)
    assert await blobs.sweep(set(), grace_s=60) == 1
    assert await blobs.present(made.id) == set()
    with pytest.raises(ValueError, match="no id"):
        blobs.key("../x")


async def test_a_file_is_digested_piece_by_piece(store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []

    class Digest:
        def __init__(self) -> None:
            self._made = hashlib.new("sha256")

        def update(self, data: bytes) -> None:
            parts.append(len(data))
            self._made.update(data)

        def digest(self) -> bytes:
            return self._made.digest()

    monkeypatch.setattr("services.addressbook.blobs.hashlib.sha256", Digest)
    blobs = BlobStore(store, clock, "test")
    data = bytes(range(251)) * 5_000
    blob = await blobs.write([data[:10], b"", data[10:], data])
    assert max(parts) <= PIECE  # others get their turn in between
    assert (blob.size, blob.sha256) == (2 * len(data), hashlib.new("sha256", data * 2).digest())
    assert await blobs.load(blob.id, blob.size) == data * 2
