"""Leases of front ends: who is alive, and where it is reached.

A front end renews its lease several times within its length. Look-ups mark each binding with the address of the front end
that holds its flow; when the lease is gone so is the address, and callers try the next binding. Leases lie in Redis and are
mirrored here; a front end that the mirror does not know is looked for at once, as it may have begun a moment ago.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from parley.platform.clock import Clock
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.repeats import Repeats
from services.registrar.keys import EDGE_ADDRESSES, EDGES

logger = logging.getLogger(__name__)

_REFRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A front end that is alive."""

    edge_uid: str
    address: str
    expires_at_ms: int


class EdgeLeases:
    """All leases, kept in Redis and mirrored here."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._repeats = Repeats()
        self._leases: dict[str, Lease] = {}
        self._unknown: set[str] = set()
        """Looked for in vain since the last refresh."""
        self._forget = store.script("services.registrar", "forget.lua")

    def _now_ms(self) -> int:
        return round(self._clock.wall() * 1000)

    def address_of(self, edge_uid: str) -> str:
        """Where a front end is reached; "" when it holds no lease."""
        lease = self._leases.get(edge_uid)
        return lease.address if lease is not None and lease.expires_at_ms > self._now_ms() else ""

    def live(self) -> list[Lease]:
        """The leases in force, as last seen."""
        now = self._now_ms()
        return [lease for lease in self._leases.values() if lease.expires_at_ms > now]

    async def keep(self, edge_uid: str, address: str, ttl_ms: int) -> None:
        """Begins or renews a lease. Raises StoreError."""
        expires = self._now_ms() + ttl_ms
        replies = await self._store.pipeline(
            [["HSET", EDGE_ADDRESSES, edge_uid, address], ["ZADD", EDGES, expires, edge_uid]]
        )
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        self._leases[edge_uid] = Lease(edge_uid, address, expires)

    async def release(self, edge_uid: str) -> None:
        """Ends a lease now; its clients have a whole grace to come back elsewhere. Raises StoreError."""
        await self._store.execute("ZADD", EDGES, self._now_ms(), edge_uid)
        self._leases.pop(edge_uid, None)

    async def gone(self, grace_s: float) -> list[str]:
        """Front ends whose lease ended longer ago than the grace. Raises StoreError."""
        found = await self._store.execute("ZRANGEBYSCORE", EDGES, "-inf", self._long_ago(grace_s))
        return [uid.decode() for uid in found]

    async def forget(self, edge_uid: str, grace_s: float) -> None:
        """Removes a front end whose bindings were swept, unless it came back meanwhile. Raises StoreError."""
        await self._forget([EDGES, EDGE_ADDRESSES], [edge_uid, self._long_ago(grace_s)])

    def _long_ago(self, grace_s: float) -> int:
        return self._now_ms() - round(grace_s * 1000)

    async def learn(self, edge_uids: Iterable[str]) -> None:
        """Reads the leases anew when one of these front ends is not known; never fails."""
        missing = {uid for uid in edge_uids if uid not in self._leases and uid not in self._unknown}
        if not missing:
            return
        try:
            await self.refresh()
        except StoreError as error:
            logger.info("leases could not be read: %s", error)
            return
        self._unknown |= missing - self._leases.keys()

    async def refresh(self) -> None:
        """Reads all leases. Raises StoreError."""
        scores, addresses = await self._store.pipeline([["ZRANGE", EDGES, 0, -1, "WITHSCORES"], ["HGETALL", EDGE_ADDRESSES]])
        for reply in (scores, addresses):
            if isinstance(reply, BaseException):
                raise reply
        known = {addresses[i].decode(): addresses[i + 1].decode() for i in range(0, len(addresses), 2)}
        self._leases = {
            uid: Lease(uid, known.get(uid, ""), int(float(scores[i + 1])))
            for i in range(0, len(scores), 2)
            if (uid := scores[i].decode())
        }
        self._unknown.clear()

    async def run(self) -> None:
        """Keeps the mirror fresh until cancelled."""
        while True:
            try:
                await self.refresh()
                self._repeats.over()
            except StoreError as error:
                if self._repeats.is_due(str(error)):
                    logger.info("leases could not be read: %s", error)
            await asyncio.sleep(_REFRESH_S)
