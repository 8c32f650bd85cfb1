"""Writes that are answered when they are on disk (WAITAOF).

A connection of its own carries them, as the server holds back everything behind a WAITAOF until the disk has it. What
arrives while one batch waits goes together in the next, so many writers share one flush of the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from parley.platform.store.errors import StoreError, StoreNotDurable, StoreUnavailable
from parley.platform.store.link import Arg, Link

DURABLE_TIMEOUT_MS: Final = 3_000
"""Longest wait for the disk."""


@dataclass(frozen=True, slots=True)
class _Write:
    args: Sequence[Arg]
    future: asyncio.Future[Any]
    asking: bool


class DurableWriter:
    """The durable writes of one connection."""

    def __init__(self, link: Link, replicas: int) -> None:
        """``replicas``: how many must have the write on their disks too."""
        self._link = link
        self._replicas = replicas
        self._waiting: list[_Write] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, args: Sequence[Arg], *, asking: bool = False) -> Any:
        """The reply to a write, when it is on disk. Raises StoreError, StoreNotDurable.

        ``asking``: the server is about to get the key's slot, and has been named by the one that gives it away.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Write(args, future, asking))
        if self._task is None:
            self._task = loop.create_task(self._run(), name="durable writes")
        return await future

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._task is None

    async def close(self) -> None:
        """Fails what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        batch: list[_Write] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write(batch)
                batch = []
        finally:
            self._task = None
            left, self._waiting = [*batch, *self._waiting], []
            for item in left:
                if not item.future.done():
                    item.future.set_exception(StoreUnavailable("the store is closed"))

    async def _write(self, batch: Sequence[_Write]) -> None:
        replies = []
        for item in batch:
            if item.asking:
                self._link.submit(("ASKING",)).add_done_callback(_forget)
            replies.append(self._link.submit(item.args))
        confirmation = self._link.submit(("WAITAOF", 1, self._replicas, DURABLE_TIMEOUT_MS))
        *results, confirmed = await asyncio.gather(*replies, confirmation, return_exceptions=True)
        problem = self._problem(confirmed)
        for item, result in zip(batch, results, strict=True):
            if item.future.done():
                continue
            if isinstance(result, BaseException):
                item.future.set_exception(result)
            elif problem is not None:
                item.future.set_exception(StoreNotDurable(problem))
            else:
                item.future.set_result(result)

    def _problem(self, confirmed: Any) -> str | None:
        if isinstance(confirmed, StoreUnavailable):
            return str(confirmed)
        if isinstance(confirmed, StoreError):
            return f"Redis cannot confirm writes (is AOF on?): {confirmed}"
        if isinstance(confirmed, BaseException):
            raise confirmed
        local, replicas = confirmed
        if local < 1 or replicas < self._replicas:
            return "the write is not confirmed to be on disk"
        return None


def _forget(future: asyncio.Future[Any]) -> None:
    """Takes the outcome of a command whose failure shows in the next one."""
    if not future.cancelled():
        future.exception()
