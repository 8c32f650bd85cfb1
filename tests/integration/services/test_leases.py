"""Leases on a real store: who holds one, and what becomes of the work of somebody who lost it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from parley.platform.store.client import Store
from services.addressbook.leases import Lease, LeaseLost
from tests.integration.services.rig import store_of
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

KEY = "parley:test:{lease}"


async def test_one_block_at_a_time_holds_it_even_in_one_process(store: Store) -> None:
    lease = Lease(store, KEY, seconds=5)
    async with lease.hold() as first:
        assert first is not None
        assert await lease.is_held()
        async with lease.hold() as second:
            assert second is None
        assert await lease.is_held()  # who did not get it does not end it
    assert not await lease.is_held()
    async with lease.hold() as again:
        assert again is not None
        assert again.token != first.token


async def test_it_is_renewed_as_long_as_it_is_held(store: Store, valkey: Valkey) -> None:
    async with Lease(store, KEY, seconds=0.6).hold() as held:
        await asyncio.sleep(0.9)
        assert held is not None
        assert valkey.ask("GET", KEY).decode() == held.token


async def test_who_lost_it_is_broken_off(store: Store, valkey: Valkey) -> None:
    lease = Lease(store, KEY, seconds=0.3)

    async def work() -> str:
        try:
            async with lease.hold():
                valkey.ask("SET", KEY, "another")
                await asyncio.sleep(60)
        except LeaseLost as error:
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            await asyncio.sleep(0.01)  # whoever catches it goes on as usual
            return str(error)
        return "went on"

    assert "another process may have taken it over" in await asyncio.wait_for(work(), 10)
    assert valkey.ask("GET", KEY) == b"another"


async def test_who_lost_it_and_is_cancelled_is_cancelled(store: Store, valkey: Valkey) -> None:
    lease = Lease(store, KEY, seconds=0.3)

    async def work() -> None:
        async with lease.hold():
            valkey.ask("SET", KEY, "another")
            try:
                await asyncio.sleep(60)
            finally:
                this = asyncio.current_task()
                assert this is not None
                this.cancel()
                await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.create_task(work()), 10)


async def test_it_is_lost_when_it_could_not_be_renewed(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        async with store_of(server.url) as store:

            async def work() -> None:
                async with Lease(store, KEY, seconds=0.5).hold():
                    await asyncio.to_thread(server.kill)
                    await asyncio.sleep(30)

            with pytest.raises(LeaseLost):
                await work()


async def test_it_is_free_again_when_its_holder_is_cancelled(store: Store) -> None:
    lease = Lease(store, KEY, seconds=60)

    async def work() -> None:
        async with lease.hold():
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await eventually(lease.is_held)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await lease.is_held()
