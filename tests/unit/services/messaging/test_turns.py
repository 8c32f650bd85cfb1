"""Messages from one user to another are dealt with in the order in which they came."""

from __future__ import annotations

import asyncio

from services.messaging.turns import Turns


async def test_who_asks_first_gets_it_first_and_others_do_not_wait() -> None:
    turns = Turns()
    seen: list[str] = []
    gate = asyncio.Event()

    async def work(name: str, to: str, wait: bool = False) -> None:
        async with turns.of("alice", to):
            if wait:
                await gate.wait()
            seen.append(name)

    tasks = [asyncio.create_task(work("first", "bob", wait=True))]
    tasks += [asyncio.create_task(work(f"{number}", "bob")) for number in range(3)]
    tasks.append(asyncio.create_task(work("other", "carol")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == ["other"]
    gate.set()
    await asyncio.gather(*tasks)
    assert seen == ["other", "first", "0", "1", "2"]
    assert len(turns) == 0


async def test_who_gives_up_holds_nobody_back() -> None:
    turns = Turns()
    gate = asyncio.Event()

    async def hold() -> None:
        async with turns.of("a", "b"):
            await gate.wait()

    async def wait() -> None:
        async with turns.of("a", "b"):
            raise AssertionError

    holder, waiter = asyncio.create_task(hold()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    gate.set()
    await holder
    assert len(turns) == 0
