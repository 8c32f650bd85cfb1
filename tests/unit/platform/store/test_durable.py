"""What acknowledges a durable write, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from parley.platform.store.durable import DurableWriter
from parley.platform.store.errors import StoreError, StoreNotDurable, StoreUnavailable
from parley.platform.store.link import Link

Reply = Any


class FakeLink:
    """Answers each command at once, or not at all."""

    def __init__(self, confirm: Callable[[], Reply]) -> None:
        self.confirm = confirm
        self.commands: list[tuple[Any, ...]] = []

    def submit(self, args: Sequence[Any]) -> asyncio.Future[Any]:
        self.commands.append(tuple(args))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply = self.confirm() if args[0] == "WAITAOF" else StoreError("WRONGTYPE") if args[0] == "BAD" else b"OK"
        if isinstance(reply, BaseException):
            future.set_exception(reply)
        elif reply is not None:
            future.set_result(reply)
        return future


def writer(confirm: Callable[[], Reply], replicas: int = 0) -> tuple[DurableWriter, FakeLink]:
    """A writer on a link whose WAITAOF is answered so."""
    link = FakeLink(confirm)
    return DurableWriter(cast(Link, link), replicas), link


async def test_writes_of_one_turn_share_one_confirmation() -> None:
    durable, link = writer(lambda: [1, 0])
    assert await asyncio.gather(*(durable.write(("SET", i)) for i in range(3))) == [b"OK"] * 3
    assert [command[0] for command in link.commands] == ["SET", "SET", "SET", "WAITAOF"]
    assert durable.idle


@pytest.mark.parametrize(
    ("reply", "replicas", "reason"),
    [
        ([0, 0], 0, "not confirmed to be on disk"),
        ([1, 1], 2, "not confirmed to be on disk"),
        (StoreError("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."), 0, "is AOF on"),
        (StoreUnavailable("the connection to Redis broke"), 0, "broke"),
    ],
)
async def test_not_confirmed_is_not_acknowledged(reply: Reply, replicas: int, reason: str) -> None:
    durable, _ = writer(lambda: reply, replicas)
    with pytest.raises(StoreNotDurable, match=reason):
        await durable.write(("SET", "k"))


async def test_write_that_failed_says_why_and_spoils_no_other() -> None:
    durable, _ = writer(lambda: [1, 0])
    bad, good = cast(
        list[Reply], await asyncio.gather(durable.write(("BAD",)), durable.write(("SET", "k")), return_exceptions=True)
    )
    assert str(bad) == "WRONGTYPE"
    assert good == b"OK"


async def test_closing_fails_what_waits() -> None:
    durable, link = writer(lambda: None)
    under_way = asyncio.ensure_future(durable.write(("SET", "first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    behind = asyncio.ensure_future(durable.write(("SET", "second")))
    await asyncio.sleep(0)
    await durable.close()
    for reply in await asyncio.gather(under_way, behind, return_exceptions=True):
        assert isinstance(reply, StoreUnavailable)
    assert [command[0] for command in link.commands] == ["SET", "WAITAOF"]


async def test_asking_goes_right_before_its_write() -> None:
    durable, link = writer(lambda: [1, 0])
    await asyncio.gather(durable.write(("SET", "a")), durable.write(("SET", "b"), asking=True))
    assert [command[0] for command in link.commands] == ["SET", "ASKING", "SET", "WAITAOF"]
