"""All allocations of a worker: found by flow and by number, limited in number, ended in time.

Servers of both dialects share one table, so a user's quota holds over both, and the table alone begins and ends allocations:
plane and observer hear of each exactly once.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

from parley.stun.errors import StunError
from parley.stun.turn.allocations import Allocation, Dialect, Flow, Relay
from parley.stun.turn.observer import CloseReason, Observer
from parley.stun.turn.plane import DataPlane


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much one client may have of the relay; 0 is no limit.

    ``per_user``, ``per_source``: allocations of a user, and of an IP address; ``total``: of all; ``permissions``,
    ``channels``, ``connections``: of one allocation; ``rate``: bytes of payload per second of one allocation, each way.
    """

    per_user: int = 64
    per_source: int = 512
    total: int = 0
    permissions: int = 256
    channels: int = 256
    connections: int = 64
    rate: int = 0


class QuotaReached(StunError):
    """A user or an address has all the allocations it may have."""


class AllocationTable:
    """Allocations of one worker."""

    def __init__(self, quotas: Quotas, plane: DataPlane, observer: Observer) -> None:
        self.quotas = quotas
        self.on_close: list[Callable[[Allocation], None]] = []
        self._plane = plane
        self._observer = observer
        self._by_flow: dict[Flow, Allocation] = {}
        self._by_number: dict[int, Allocation] = {}
        self._per_user: Counter[str] = Counter()
        self._per_source: Counter[str] = Counter()
        self._last = 0
        self._heap: list[tuple[float, int]] = []
        self._due: dict[int, float] = {}
        self._packets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Allocation]:
        return iter(list(self._by_number.values()))

    def at(self, flow: Flow) -> Allocation | None:
        """The allocation of a five-tuple."""
        return self._by_flow.get(flow)

    def numbered(self, number: int) -> Allocation | None:
        """The allocation with that number."""
        return self._by_number.get(number)

    def check_room(self, user: str, host: str) -> None:
        """Raises QuotaReached when that user, that client address, or the worker has all it may have."""
        quotas = self.quotas
        if quotas.total and len(self) >= quotas.total:
            raise QuotaReached("the relay is full")
        if quotas.per_user and self._per_user[user] >= quotas.per_user:
            raise QuotaReached("the user has all allocations it may have")
        if quotas.per_source and self._per_source[host] >= quotas.per_source:
            raise QuotaReached("the address has all allocations it may have")

    def open(
        self,
        flow: Flow,
        dialect: Dialect,
        *,
        username: str,
        user: str,
        key: bytes,
        relays: tuple[Relay, ...],
        now: float,
        lifetime: float,
        kept_by_traffic: bool = False,
        connection_id: bytes = b"",
    ) -> Allocation:
        """Begins an allocation, whose relays are the plane's from now on. The flow has none yet."""
        self._last += 1
        allocation = Allocation(
            self._last, flow, dialect, username, key, relays, now, now + lifetime, user=user, rate=self.quotas.rate,
            lifetime=lifetime, kept_by_traffic=kept_by_traffic, connection_id=connection_id,
        )  # fmt: skip
        self._by_flow[flow] = allocation
        self._by_number[allocation.number] = allocation
        self._per_user[user] += 1
        self._per_source[flow.client.host] += 1
        self._schedule(allocation)
        self._plane.open(allocation)
        self._observer.opened(allocation)
        return allocation

    def refresh(self, allocation: Allocation, lifetime: float, now: float) -> None:
        """It ends ``lifetime`` seconds from now, unless refreshed again."""
        self.extend(allocation, lifetime, now)
        self._observer.refreshed(allocation)

    def extend(self, allocation: Allocation, lifetime: float, now: float) -> None:
        """The same, and nobody is told."""
        allocation.lifetime = lifetime
        allocation.expires_at = now + lifetime
        self._schedule(allocation)

    def move(self, allocation: Allocation, flow: Flow) -> None:
        """Its client now comes from another five-tuple, which has no allocation (MS-TURN: found by its connection id)."""
        del self._by_flow[allocation.flow]
        _count_down(self._per_source, allocation.flow.client.host)
        allocation.flow = flow
        self._by_flow[flow] = allocation
        self._per_source[flow.client.host] += 1

    def close(self, allocation: Allocation, reason: CloseReason) -> None:
        """Ends it. Does nothing when it has ended."""
        if self._by_number.pop(allocation.number, None) is None:
            return
        del self._by_flow[allocation.flow]
        self._due.pop(allocation.number, None)
        self._packets.pop(allocation.number, None)
        _count_down(self._per_user, allocation.user)
        _count_down(self._per_source, allocation.flow.client.host)
        for listener in self.on_close:
            listener(allocation)
        self._plane.close(allocation)
        self._observer.closed(allocation, reason)

    def close_all(self, reason: CloseReason) -> None:
        """Ends every one."""
        for allocation in self:
            self.close(allocation, reason)

    def expire(self, now: float) -> float:
        """Ends those whose time has passed; the next time to call this, infinity when there is nothing to wait for."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, number = heapq.heappop(heap)
            if self._due.get(number) != at:
                continue  # another entry stands for it
            del self._due[number]
            allocation = self._by_number[number]
            if allocation.expires_at > now or self._is_kept(allocation, now):
                self._schedule(allocation)
            else:
                self.close(allocation, CloseReason.EXPIRED)
        return heap[0][0] if heap else inf

    def _is_kept(self, allocation: Allocation, now: float) -> bool:
        """Whether packets have passed since it was last looked at; if so, it lives for its lifetime again."""
        if not allocation.kept_by_traffic:
            return False
        traffic = self._plane.traffic(allocation)
        packets = traffic.sent_packets + traffic.received_packets
        if packets == self._packets.get(allocation.number, 0):
            return False
        self._packets[allocation.number] = packets
        allocation.expires_at = now + allocation.lifetime
        return True

    def _schedule(self, allocation: Allocation) -> None:
        """An entry for its end, unless one for an earlier time will look at it anyway."""
        due = self._due.get(allocation.number)
        if due is None or allocation.expires_at < due:
            self._due[allocation.number] = allocation.expires_at
            heapq.heappush(self._heap, (allocation.expires_at, allocation.number))


def _count_down(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
