"""The drain of a process, as signals begin it and call it off."""

from __future__ import annotations

import asyncio

from parley.platform.lifecycle import Runner, Tasks


async def test_a_signal_right_after_a_cancelled_drain_begins_another() -> None:
    runner = Runner([], Tasks(), drain_seconds=5)
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(0)
    runner.terminate()
    runner.cancel_drain()
    runner.terminate()
    async with asyncio.timeout(1):
        assert await running == 0
