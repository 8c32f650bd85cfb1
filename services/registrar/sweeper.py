"""Takes away bindings that have ended, those of front ends that are gone, and those of flows that front ends have lost.

All in bounded steps.

Every registrar sweeps; the scripts are atomic, so two of them only share the work.

Leases end while the store is away, or while everything stands still, although the front ends live on. So a lease that
ended by itself counts only after the store was within reach for a whole grace: time enough for who lives to renew it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from prometheus_client import Counter, Gauge

from parley.platform.clock import Clock
from parley.platform.store.errors import StoreError
from parley.platform.store.shards import SHARDS
from parley.platform.telemetry.repeats import Repeats
from services.registrar.edges import EdgeLeases, Restart
from services.registrar.repository import CHUNK, BindingRepository

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
        self._repeats = Repeats()
        self._looked_at: float | None = None
        self._steady_since = 0.0

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            try:
                await self.sweep()
                self._repeats.over()
            except StoreError as error:
                if self._repeats.is_due(str(error)):
                    logger.info("the sweep failed: %s", error)
            await asyncio.sleep(self._interval_s)

    async def sweep(self) -> int:
        """One sweep over all shards; how many bindings it took away. Raises StoreError."""
        now_ms = round(self._clock.wall() * 1000)
        taken = await self._sweep_expired(now_ms)
        for edge_uid in await self._edges.gone(self._grace_s) if self._is_steady() else ():
            logger.info("front end %s is gone, its bindings are taken away", edge_uid)
            taken += await self._sweep_edge(edge_uid, now_ms)
            await self._edges.forget(edge_uid, self._grace_s)
        for restart in await self._edges.restarted(self._grace_s):
            logger.info("front end %s was started again, bindings over its lost flows are taken away", restart.edge_uid)
            taken += await self._sweep_flows(restart, now_ms)
            await self._edges.forget_restart(restart)
        _BINDINGS.set(await self._repository.count())
        self._looked_at = self._clock.monotonic()
        return taken

    def _is_steady(self) -> bool:
        """Whether the store was within reach for a whole grace."""
        now, patience = self._clock.monotonic(), 3 * self._interval_s + self._grace_s / 2
        if self._looked_at is None or now - self._looked_at > patience:
            self._steady_since = now
        return now - self._steady_since >= self._grace_s

    async def _sweep_expired(self, now_ms: int) -> int:
        taken, shards = 0, list(range(SHARDS))
        while shards:
            swept = await self._repository.sweep_expired(shards, now_ms)
            taken += sum(self._note(shard, ended, "expired") for shard, (_, ended) in zip(shards, swept, strict=True))
            shards = [shard for shard, (looked, _) in zip(shards, swept, strict=True) if looked >= CHUNK]
        return taken

    async def _sweep_edge(self, edge_uid: str, now_ms: int) -> int:
        taken = 0
        for shard in range(SHARDS):
            looked = CHUNK
            while looked >= CHUNK:
                looked, lost = await self._repository.sweep_edge(shard, edge_uid, now_ms)
                taken += self._note(shard, lost, "edge_gone")
        return taken

    async def _sweep_flows(self, restart: Restart, now_ms: int) -> int:
        taken = 0
        for shard in range(SHARDS):
            cursor, is_over = "0", False
            while not is_over:
                lost, cursor = await self._repository.sweep_flows(
                    shard, restart.edge_uid, restart.first_connection, now_ms, cursor
                )
                taken += self._note(shard, lost, "flow_lost")
                is_over = cursor == "0"
        return taken

    def _note(self, shard: int, count: int, cause: str) -> int:
        if count:
            _SWEPT.labels(cause).inc(count)
            self._on_events(shard)
        return count
