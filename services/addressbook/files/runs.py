"""When address-book files are made: once a day, and on demand; by one of the replicas.

Every replica looks at the clock. Once it is time, and there are no files of today, it tries to get the lease; who has it
makes the files. A run that fails is told, and tried again some minutes later. A run that was missed is made up for at once,
as is the first one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

from parley.addressbook.errors import AddressBookError
from parley.addressbook.files.names import day_of
from parley.platform.clock import Clock
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.repeats import Repeats
from parley.platform.telemetry.tracing import Tracer
from services.addressbook.blobs import BlobError, BlobStore
from services.addressbook.files.config import FilesConfig
from services.addressbook.files.making import FileMaker
from services.addressbook.files.manifest import LEASE, PROBLEM, Manifest, SwitchError
from services.addressbook.files.metrics import BYTES, FILES, MADE_AT, RUNS, SECONDS, SWEPT
from services.addressbook.leases import Held, Lease, LeaseLost

logger = logging.getLogger(__name__)

LEASE_S: Final = 30.0
GRACE_S: Final = 3_600.0
"""How long files that were replaced can still be read."""
_LOOK_S: Final = 15.0
_AGAIN_S: Final = 300.0
"""After a failure."""
_MAX_PROBLEM: Final = 500

Spawn = Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class Busy(Exception):
    """The files are being made already."""


class FileRuns:
    """The runs of one process."""

    def __init__(
        self, maker: FileMaker, manifest: Manifest, blobs: BlobStore, store: Store, clock: Clock, config: FilesConfig,
        tracer: Tracer, *, lease_s: float = LEASE_S,
    ) -> None:  # fmt: skip
        self._maker = maker
        self._manifest = manifest
        self._blobs = blobs
        self._store = store
        self._clock = clock
        self._config = config
        self._tracer = tracer
        self.lease = Lease(store, LEASE, seconds=lease_s)
        self._not_before = 0.0
        self._making = False
        self._repeats = Repeats(clock.monotonic)

    async def run(self) -> None:
        """Makes files when it is time, until cancelled."""
        while True:
            try:
                await self.look()
                self._repeats.over()
            except StoreError as error:
                if self._repeats.is_due(str(error)):
                    logger.info("address-book files are made later: %s", error)
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Makes the files of today if it is time, and no process does; removes what is not needed. Raises StoreError."""
        known = await self._manifest.current()
        MADE_AT.set(known.manifest.made_at_ms / 1000)
        FILES.set(len(known.manifest.files))
        BYTES.set(sum(kept.file.size for kept in known.manifest.files))
        now = self._clock.wall()
        if self._clock.monotonic() < self._not_before or self._making:
            return
        if self._is_time(known.manifest.day, now):
            try:
                await self.make()
            except Busy:
                return
        elif swept := await self._blobs.sweep(known.blobs, grace_s=GRACE_S):
            SWEPT.labels("files").inc(swept)

    def _is_time(self, day: int, now: float) -> bool:
        """Whether files are to be made. ``day``: of those there are; ``now``: Unix time."""
        today = day_of(now)
        missed = day < today - 1
        return day != today and (missed or datetime.fromtimestamp(now, UTC).time() >= self._config.time)

    def begin(self, spawn: Spawn) -> None:
        """Begins to make the files of today, whether there are some or not. Raises Busy when this process makes them."""
        if self._making:
            raise Busy
        spawn("addressbook files", self._on_demand())

    async def _on_demand(self) -> None:
        try:
            await self.make()
        except Busy:
            logger.info("address-book files are being made by another process")
        except StoreError as error:
            logger.warning("address-book files were not made: %s", error)

    async def make(self) -> bool:
        """Makes the files of today; whether it worked. Raises Busy, and StoreError when the store is away from the start."""
        if self._making:
            raise Busy
        self._making = True
        try:
            async with self.lease.hold() as held:
                if held is None:
                    raise Busy
                return await self._make(held)
        except LeaseLost as error:
            await self._failed(error)
            return False
        finally:
            self._making = False

    async def _make(self, held: Held) -> bool:
        begun = self._clock.monotonic()
        try:
            with self._tracer.start("addressbook.make_files", parent="") as span:
                made = await self._maker.make(held)
                span.set("parley.files", len(made.files))
        except (AddressBookError, BlobError, SwitchError, StoreError) as error:
            await self._failed(error)
            return False
        RUNS.labels("made").inc()
        SECONDS.set(self._clock.monotonic() - begun)
        logger.info(
            "address-book files were made: %d files of %d entries, %d bytes",
            len(made.files), made.entries, sum(kept.file.size for kept in made.files),
        )  # fmt: skip
        await self._store.execute("DEL", PROBLEM)
        return True

    async def _failed(self, error: Exception) -> None:
        RUNS.labels("failed").inc()
        self._not_before = self._clock.monotonic() + _AGAIN_S
        logger.error("address-book files were not made, those there are stay: %s", error)
        text = str(error)[:_MAX_PROBLEM] or type(error).__name__
        try:
            await self._store.execute("HSET", PROBLEM, "text", text, "at", round(self._clock.wall() * 1000))
        except StoreError:
            logger.debug("why the files were not made is not kept, as the store is away")
