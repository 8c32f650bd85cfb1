"""Takes away bindings that have ended and bindings of front ends that are gone, in bounded steps.

Every registrar sweeps; the scripts are atomic, so two of them only share the work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from prometheus_client import Counter, Gauge

from parley.platform.clock import Clock
from parley.platform.store.errors import StoreError
from services.registrar import keys
from services.registrar.edges import EdgeLeases
from services.registrar.repository import BindingRepository

logger = logging.getLogger(__name__)

_BINDINGS = Gauge("parley_registrar_bindings", "Bindings of all users, as of the last sweep")
_SWEPT = Counter("parley_registrar_swept_total", "Bindings taken away, by cause", ["cause"])


class Sweeper:
    """Runs at an interval."""

    def __init__(
        self,
        repository: BindingRepository,
        edges: EdgeLeases,
        clock: Clock,
        *,
        interval_s: float,
        grace_s: float,
        on_events: Callable[[int], None],
    ) -> None:
        """``on_events`` is told the shards whose outbox got something."""
        self._repository = repository
        self._edges = edges
        self._clock = clock
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._on_events = on_events

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                logger.info("the sweep failed: %s", error)
            await asyncio.sleep(self._interval_s)

    async def sweep(self) -> int:
        """One sweep over all shards; how many bindings it took away. Raises StoreError."""
        taken = 0
        now_ms = round(self._clock.wall() * 1000)
        for shard in range(keys.SHARDS):
            looked, ended = await self._repository.sweep_expired(shard, now_ms)
            taken += self._note(shard, ended, "expired")
            while looked >= 500:
                looked, ended = await self._repository.sweep_expired(shard, now_ms)
                taken += self._note(shard, ended, "expired")
        for edge_uid in await self._edges.gone(self._grace_s):
            logger.info("front end %s is gone, its bindings are taken away", edge_uid)
            for shard in range(keys.SHARDS):
                looked = 500
                while looked >= 500:
                    looked, lost = await self._repository.sweep_edge(shard, edge_uid, now_ms)
                    taken += self._note(shard, lost, "edge_gone")
            await self._edges.forget(edge_uid, self._grace_s)
        _BINDINGS.set(await self._repository.count())
        return taken

    def _note(self, shard: int, count: int, cause: str) -> int:
        if count:
            _SWEPT.labels(cause).inc(count)
            self._on_events(shard)
        return count
