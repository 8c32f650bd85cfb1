"""Leases of front ends: who is alive, and where it is reached.

A front end renews its lease several times within its length. Look-ups mark each binding with the address of the front end
that holds its flow; when the lease is gone so is the address, and callers try the next binding. Leases lie in Redis and are
mirrored here; a front end that the mirror does not know is looked for at once, as it may have begun a moment ago.

A front end that ended unawares may be started again under its uid before its lease is gone: a container that is restarted in
its pod. It says which number it gave to its first flow; those with lower ones, which nobody holds any more, have no address.
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
from parley.proto.sip.v1.message_pb2 import Flow
from services.registrar.keys import EDGE_ADDRESSES, EDGE_FIRST_CONNECTIONS, EDGE_RESTARTS, EDGES

logger = logging.getLogger(__name__)

_REFRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A front end that is alive."""

    edge_uid: str
    address: str
    expires_at_ms: int
    first_connection: int = 0
    """Flows with lower numbers are lost."""


@dataclass(frozen=True, slots=True)
class Restart:
    """A front end that was started again; ``str()`` and `parse` make it what lies in the store."""

    edge_uid: str
    first_connection: int

    def __str__(self) -> str:
        return f"{self.edge_uid}\n{self.first_connection}"

    @classmethod
    def parse(cls, member: bytes) -> Restart:
        """What `str` made."""
        edge_uid, _, number = member.decode().partition("\n")
        return cls(edge_uid, int(number))


class EdgeLeases:
    """All leases, kept in Redis and mirrored here."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._repeats = Repeats()
        self._leases: dict[str, Lease] = {}
        self._unknown: set[str] = set()
        """Looked for in vain since the last refresh."""
        self._keep = store.script("services.registrar", "lease.lua")
        self._forget = store.script("services.registrar", "forget.lua")

    def _now_ms(self) -> int:
        return round(self._clock.wall() * 1000)

    def address_of_flow(self, flow: Flow) -> str:
        """Where the front end that holds a flow is reached; "" when there is none."""
        lease = self._leases.get(flow.edge_uid)
        if lease is None or lease.expires_at_ms <= self._now_ms() or flow.connection_id < lease.first_connection:
            return ""
        return lease.address

    def live(self) -> list[Lease]:
        """The leases in force, as last seen."""
        now = self._now_ms()
        return [lease for lease in self._leases.values() if lease.expires_at_ms > now]

    async def keep(self, edge_uid: str, address: str, ttl_ms: int, first_connection: int = 0) -> None:
        """Begins or renews a lease. Raises StoreError."""
        now = self._now_ms()
        keys = [EDGES, EDGE_ADDRESSES, EDGE_FIRST_CONNECTIONS, EDGE_RESTARTS]
        await self._keep(keys, [edge_uid, address, now + ttl_ms, first_connection, now])
        self._leases[edge_uid] = Lease(edge_uid, address, now + ttl_ms, first_connection)

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
        await self._forget([EDGES, EDGE_ADDRESSES, EDGE_FIRST_CONNECTIONS], [edge_uid, self._long_ago(grace_s)])

    async def restarted(self, grace_s: float) -> list[Restart]:
        """Front ends that were started again longer ago than the grace. Raises StoreError."""
        found = await self._store.execute("ZRANGEBYSCORE", EDGE_RESTARTS, "-inf", self._long_ago(grace_s))
        return [Restart.parse(member) for member in found]

    async def forget_restart(self, restart: Restart) -> None:
        """Removes a restart whose lost flows were dealt with. Raises StoreError."""
        await self._store.execute("ZREM", EDGE_RESTARTS, str(restart))

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
        replies = await self._store.pipeline(
            [["ZRANGE", EDGES, 0, -1, "WITHSCORES"], ["HGETALL", EDGE_ADDRESSES], ["HGETALL", EDGE_FIRST_CONNECTIONS]]
        )
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        ends, addresses, first_connections = (dict(zip(reply[::2], reply[1::2], strict=True)) for reply in replies)
        self._leases = {
            uid.decode(): Lease(
                uid.decode(), addresses.get(uid, b"").decode(), int(float(end)), int(first_connections.get(uid, 0))
            )
            for uid, end in ends.items()
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
