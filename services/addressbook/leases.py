"""One of the replicas does something: a lease in Redis says which.

A lease ends by itself when its holder does not renew it, as after a crash. What the holder writes in the end has to ask for
the lease in the same step (its key and `Lease.token` go into the script), so that a holder that was silent for too long
changes nothing any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from secrets import token_hex
from typing import Final

from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError

logger = logging.getLogger(__name__)

_RENEWALS: Final = 3
"""How often it is renewed while it lasts."""


class Lease:
    """One lease, as one process sees it."""

    def __init__(self, store: Store, key: str, *, seconds: float) -> None:
        """``seconds``: how long it lasts without being renewed."""
        self._store = store
        self._seconds = seconds
        self._script = store.script("services.addressbook", "lease.lua")
        self.key = key
        self.token = token_hex(16)

    async def is_held(self) -> bool:
        """Whether any process holds it. Raises StoreError."""
        return bool(await self._store.execute("EXISTS", self.key))

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[bool]:
        """Holds it for the block, if nobody else does: gives whether it is held. Raises StoreError."""
        ms = round(self._seconds * 1000)
        if await self._store.execute("SET", self.key, self.token, "NX", "PX", ms) is None:
            yield False
            return
        renewing = asyncio.create_task(self._renew(ms), name="addressbook lease")
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(StoreError):  # it ends by itself
                await self._script([self.key], [self.token, 0])

    async def _renew(self, ms: int) -> None:
        while True:
            await asyncio.sleep(self._seconds / _RENEWALS)
            try:
                if not await self._script([self.key], [self.token, ms]):
                    logger.warning("the lease %s was lost; another process may go on with its work", self.key)
                    return
            except StoreError as error:
                logger.info("the lease %s is renewed later: %s", self.key, error)
