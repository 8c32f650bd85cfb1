"""What becomes of work on the directory that another process takes over, or that nobody waits for, on a real store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parley.platform.clock import FakeClock
from parley.platform.store.client import Store
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory import importing
from services.addressbook.directory.keys import PREFIX
from tests.integration.services.directory_rig import Directory

pytestmark = pytest.mark.valkey


async def test_an_import_that_loses_its_lease_is_broken_off(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_LEASE_S", 0.3)
    directory = Directory(store, clock)

    async def stand_still(*_: object) -> None:
        await store.execute("SET", PREFIX + "import-lease", "another")
        await asyncio.sleep(60)

    monkeypatch.setattr(directory.entries, "write_many", stand_still)
    report = await asyncio.wait_for(directory.import_csv("address;display name\nada@example.test;Ada\n"), 10)
    assert report.state == pb.JOB_STATE_FAILED
    assert report.failure.endswith("another process may have taken it over; import the file again")
    assert await directory.entries.count() == 0


async def test_an_import_goes_on_when_nobody_waits_for_it_any_more(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory(store, clock)
    write_many, writing, goes_on = directory.entries.write_many, asyncio.Event(), asyncio.Event()

    async def late(*values: Any) -> Any:
        writing.set()
        await goes_on.wait()
        return await write_many(*values)

    monkeypatch.setattr(directory.entries, "write_many", late)
    call = asyncio.create_task(directory.import_csv("address;display name\nada@example.test;Ada\n"))
    await writing.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    goes_on.set()
    await directory.done()
    report = (await directory.surface.ImportStatus(pb.ImportStatusRequest(), None)).report
    assert (report.state, report.added) == (pb.JOB_STATE_DONE, 1)
