"""One of the replicas does something: a lease in Redis says which.

A lease ends by itself when its holder does not renew it, as after a crash. Whoever finds that it is lost is broken off, as
another may go on with the work by then. That is found out a little later than it happens, so what must not be written twice
has to be written by a script that looks as well: for the lease (`Held.key` and `Held.token`), or for what the next holder
would have changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final

from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError

logger = logging.getLogger(__name__)

_RENEWALS: Final = 3
"""How often it is renewed while it lasts."""


class LeaseLost(Exception):
    """Another may hold it by now, so the work was broken off."""

    def __init__(self, text: str = "it came to a stand for so long that another process may have taken it over") -> None:
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease while it is held."""

    key: str
    token: str
    """Of this holder, and of this time that it holds it."""


class Lease:
    """One lease, as one process sees it."""

    def __init__(self, store: Store, key: str, *, seconds: float) -> None:
        """``seconds``: how long it lasts without being renewed."""
        self._store = store
        self._seconds = seconds
        self._script = store.script("services.addressbook", "lease.lua")
        self.key = key

    async def is_held(self) -> bool:
        """Whether anybody holds it. Raises StoreError."""
        return bool(await self._store.execute("EXISTS", self.key))

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Held | None]:
        """Holds it for the block, if nobody else does: None when somebody does.

        When it is lost, the task that the block runs in is cancelled there, and goes on with LeaseLost. Raises StoreError.
        """
        held = Held(self.key, token_hex(16))
        until = asyncio.get_running_loop().time() + self._seconds
        if await self._store.execute("SET", self.key, held.token, "NX", "PX", round(self._seconds * 1000)) is None:
            yield None
            return
        renewing = asyncio.create_task(self._renew(held, until), name="addressbook lease")
        breaking = _Breaking(renewing)
        try:
            with breaking:
                yield held
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            if not breaking.broken:
                with suppress(StoreError):  # it ends by itself
                    await self._script([held.key], [held.token, 0])

    async def _renew(self, held: Held, until: float) -> None:
        """Returns when it is lost. ``until``: when it ends, in the time of the event loop."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, min(self._seconds / _RENEWALS, until - loop.time())))
            begun = loop.time()
            try:
                if not await self._script([held.key], [held.token, round(self._seconds * 1000)]):
                    break
                until = begun + self._seconds
            except StoreError as error:
                if loop.time() >= until:
                    break
                logger.info("the lease %s is renewed later: %s", self.key, error)
        logger.warning("the lease %s was lost; another process may go on with its work", self.key)


class _Breaking:
    """Cancels the task of a block when another task returns, and makes LeaseLost of that; as `asyncio.timeout` does."""

    def __init__(self, watching: asyncio.Task[None]) -> None:
        task = asyncio.current_task()
        assert task is not None, "a lease is held by a task"
        self._task: asyncio.Task[Any] = task
        self._before = task.cancelling()
        self._watching = watching
        self._over = False
        self.broken = False

    def __enter__(self) -> None:
        self._watching.add_done_callback(self._lost)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self._over = True
        if not self.broken or self._task.uncancel() > self._before:
            return  # it was not lost, or the task is cancelled by others as well
        if kind is None or kind is asyncio.CancelledError:
            raise LeaseLost from None

    def _lost(self, watching: asyncio.Task[None]) -> None:
        if not self._over and not watching.cancelled():
            self.broken = True
            self._task.cancel()
