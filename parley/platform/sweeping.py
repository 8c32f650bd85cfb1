"""What is due is dealt with: all shards are looked at once an interval. Every process looks; doing it twice does no harm."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.store.shards import SHARDS
from parley.platform.telemetry.repeats import Repeats

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0
CHUNK: Final = 200
"""Things of one shard that are dealt with in one sweep."""

T = TypeVar("T")


class ShardSweeper(ABC, Generic[T]):
    """Looks at all shards once an interval; a subclass says what is due in one, and what becomes of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._repeats = Repeats()

    @abstractmethod
    async def due(self, shard: int, now_ms: int) -> Sequence[T]:
        """What is due in a shard, at most `CHUNK`. Raises StoreError."""

    @abstractmethod
    async def deal_with(self, shard: int, found: T, now_ms: int) -> None:
        """Deals with one thing that is due. Raises StoreError, RpcError."""

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.sweep()
                self._repeats.over()
            except (StoreError, RpcError) as error:
                if self._repeats.is_due(str(error)):
                    logger.info("what is due is dealt with later: %s", error)

    async def sweep(self) -> None:
        """Deals with what is due now. Raises StoreError, RpcError."""
        now_ms = int(self._clock.wall() * 1000)
        found = await asyncio.gather(*(self.due(shard, now_ms) for shard in range(SHARDS)))
        for shard, things in enumerate(found):
            for thing in things:
                await self.deal_with(shard, thing, now_ms)
