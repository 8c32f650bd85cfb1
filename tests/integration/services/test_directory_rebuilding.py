"""The search index made anew, broken off and taken over, on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from uuid import UUID

import pytest
from grpc import StatusCode

from parley.addressbook.entries import Entry, Kind
from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory.keys import GENERATIONS
from services.addressbook.directory.rebuilding import FORM, Rebuilder
from services.addressbook.directory.repository import Write
from services.addressbook.leases import LeaseLost
from tests.integration.services.directory_rig import Directory
from tests.integration.services.rig import all_keys
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

PEOPLE = 450
"""More than are indexed in one step."""


@pytest.fixture
async def directory(store: Store, clock: FakeClock) -> Directory:
    """A directory of some people."""
    made = Directory(store, clock)
    people = [Entry(UUID(int=number), Kind.CONTACT, display_name=f"Ada {number}") for number in range(1, PEOPLE + 1)]
    await made.entries.write_many([Write(entry.id, entry) for entry in people], [None] * PEOPLE)
    await made.rebuilder.is_needed()
    await store.execute("HSET", GENERATIONS, "form", FORM)
    return made


async def generations(store: Store) -> dict[str, int]:
    """What is kept of generations."""
    found = await store.execute("HGETALL", GENERATIONS)
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return {name.decode(): int(value) for name, value in pairs}


async def begun(rebuilder: Rebuilder) -> AsyncIterator[object]:
    """A run after its first step."""
    run = rebuilder.run()
    await anext(run)
    return run


async def test_a_run_that_was_broken_off_is_done_when_the_lease_of_its_holder_ended(
    directory: Directory, store: Store, valkey: Valkey
) -> None:
    await begun(directory.rebuilder)
    lease = directory.rebuilder.lease.key
    await store.execute("SET", lease, "of a process that was killed", "PX", 700)
    await directory.rebuilder.look()
    assert (await generations(store))["building"] == 2  # it may be alive
    keeping = asyncio.create_task(directory.rebuilder.keep(every_s=0.1))

    async def is_made() -> bool:
        return await generations(store) == {"current": 2, "building": 0, "form": FORM}

    await eventually(is_made)
    keeping.cancel()
    assert len(await directory.found("ada")) == PEOPLE
    assert not [key for key in all_keys(valkey) if ":i1:" in key]


async def test_a_call_that_is_cancelled_leaves_what_others_finish(directory: Directory, store: Store) -> None:
    stream = directory.surface.RebuildIndex(pb.RebuildIndexRequest(), None)

    async def call() -> None:
        async for _ in stream:
            await asyncio.sleep(60)

    calling = asyncio.create_task(call())
    await eventually(directory.rebuilder.is_needed)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert isinstance(stream, AsyncGenerator)
    await stream.aclose()
    assert not await directory.rebuilder.lease.is_held()
    await directory.rebuilder.look()
    assert await generations(store) == {"current": 2, "building": 0, "form": FORM}


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_a_run_that_another_has_done_meanwhile_changes_nothing(directory: Directory, store: Store, steps: int) -> None:
    late = directory.rebuilder.run()
    for _ in range(steps):
        await anext(late)
    await directory.rebuilder.look()
    with pytest.raises(LeaseLost):
        [progress async for progress in late]
    assert await generations(store) == {"current": 2, "building": 0, "form": FORM}
    assert len(await directory.found("ada")) == PEOPLE


async def test_what_is_not_needed_is_removed_to_its_end(
    directory: Directory, store: Store, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = store.execute

    async def killed_at_the_end(*command: str, **options: str) -> object:
        if command[0] == "UNLINK" and any(key.endswith(":m") for key in command):
            raise asyncio.CancelledError
        return await execute(*command, **options)

    monkeypatch.setattr(store, "execute", killed_at_the_end)
    with pytest.raises(asyncio.CancelledError):
        [progress async for progress in directory.rebuilder.run()]
    monkeypatch.undo()
    assert [key for key in all_keys(valkey) if ":i1:" in key]
    assert not await directory.rebuilder.is_needed()
    await directory.rebuilder.look()
    assert not [key for key in all_keys(valkey) if ":i1:" in key]
    assert await generations(store) == {"current": 2, "building": 0, "form": FORM}  # and nothing was made once more


async def test_a_form_of_a_later_version_is_left_to_it_by_who_was_here_before(directory: Directory, store: Store) -> None:
    keeping = asyncio.create_task(directory.rebuilder.keep(every_s=0.05))
    await asyncio.sleep(0.2)
    await store.execute("HSET", GENERATIONS, "form", FORM + 1)
    await asyncio.sleep(0.3)
    assert (await generations(store))["form"] == FORM + 1
    keeping.cancel()
    await Rebuilder(store, directory.entries).look()  # as at the start of a process
    assert (await generations(store))["form"] == FORM


async def test_who_loses_the_lease_says_so(directory: Directory, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilder = Rebuilder(store, directory.entries, lease_s=0.3)
    stopped = directory.entries.page

    async def stand_still(*_: object) -> list[UUID]:
        await store.execute("SET", rebuilder.lease.key, "another")
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(directory.entries, "page", stand_still)
    await store.execute("HSET", GENERATIONS, "building", 2)
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(rebuilder.look(), 10)
    monkeypatch.setattr(directory.entries, "page", stopped)
    with pytest.raises(RpcError) as caught:
        [answer async for answer in directory.surface.RebuildIndex(pb.RebuildIndexRequest(), None)]
    assert caught.value.code is StatusCode.FAILED_PRECONDITION
