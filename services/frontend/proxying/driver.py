"""Runs the transactions and response contexts of one front end on the event loop.

The cores say when they want to be woken; one loop timer stands for all of them. Whoever owns a transaction is told its
events in order, right after the input that caused them. An owner may feed other cores while it is told: what that
causes is worked off before `pump` returns, never nested.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from parley.platform.clock import Clock
from parley.sip.transaction import (
    DEFAULT_TIMERS,
    DeadlineHeap,
    Timers,
    Transaction,
    TransactionEvent,
    TransactionTable,
)

logger = logging.getLogger(__name__)


class TransactionOwner(Protocol):
    """Who made a transaction and acts on what it says."""

    def on_event(self, transaction: Transaction, event: TransactionEvent) -> None:
        """Carries out one event of the transaction."""


class Timed(Protocol):
    """Anything with a deadline of its own, as a forking context."""

    @property
    def deadline(self) -> float | None:
        """Monotonic seconds, None when nothing is awaited."""

    def on_deadline(self, now: float) -> None:
        """The deadline has come."""


class Driver:
    """The transactions of a front end, and the one timer for them."""

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        timers: Timers = DEFAULT_TIMERS,
        limit: int = 200_000,
    ) -> None:
        self.clock = clock
        self.timers = timers
        self.table = TransactionTable(limit)
        self._loop = loop
        self._timed: DeadlineHeap[Timed] = DeadlineHeap()
        self._timed_ids: dict[int, int] = {}
        self._queue: deque[Transaction] = deque()
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def now(self) -> float:
        """Monotonic seconds, as the cores want them."""
        return self.clock.monotonic()

    def add(self, transaction: Transaction, owner: TransactionOwner) -> bool:
        """Takes a transaction in; False when there are too many."""
        transaction.owner = owner
        return self.table.add(transaction)

    def pump(self, transaction: Transaction) -> None:
        """Tells the owner what the last input led to, and takes note of the new deadline."""
        self._queue.append(transaction)
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._queue:
                self._drain(self._queue.popleft())
        finally:
            self._pumping = False
        self._arm()

    def _drain(self, transaction: Transaction) -> None:
        owner = transaction.owner
        for event in transaction.events():
            try:
                owner.on_event(transaction, event)  # type: ignore[attr-defined]  # set by `add`
            except Exception:
                logger.exception("transaction %s failed on %s", type(transaction).__name__, type(event).__name__)
                transaction.abandon()
        self.table.update(transaction)

    def watch(self, timed: Timed) -> None:
        """Takes note of the deadline of something that is no transaction; call again when it changed."""
        key = id(timed)
        known = self._timed_ids.get(key)
        if known is None:
            self._timed_ids[key] = self._timed.add(timed, timed.deadline)
        else:
            self._timed.reschedule(known, timed.deadline)
        self._arm()

    def forget(self, timed: Timed) -> None:
        """Stops watching."""
        known = self._timed_ids.pop(id(timed), None)
        if known is not None:
            self._timed.remove(known)

    def run_due(self) -> None:
        """Runs what is due now; called by the loop timer, and by tests that move their clock."""
        now = self.now()
        for transaction in self.table.expire(now):
            self.pump(transaction)
        for timed in self._timed.pop_due(now):
            timed.on_deadline(now)
            if id(timed) in self._timed_ids:
                self.watch(timed)
        self._arm()

    def _on_timer(self) -> None:
        self._timer = None
        self.run_due()

    def _arm(self) -> None:
        """Sets the loop timer to the earliest deadline."""
        ours, others = self.table.next_deadline(), self._timed.next_deadline()
        at = ours if others is None else others if ours is None else min(ours, others)
        if at is None:
            return
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.001, at - self.now()), self._on_timer)

    def close(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
