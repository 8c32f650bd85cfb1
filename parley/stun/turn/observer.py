"""Who is told what becomes of allocations: counters, events and traces stand behind this."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from parley.stun.turn.allocations import Allocation, Dialect, Flow


class CloseReason(StrEnum):
    """Why an allocation ended."""

    RELEASED = "released"
    """Its client gave it back."""
    EXPIRED = "expired"
    """Its client did not refresh it in time."""
    DISCONNECTED = "disconnected"
    """The stream that it was made on is gone."""
    SHUTDOWN = "shutdown"
    """The server ends."""
    WORKER_LOST = "worker-lost"
    """The process that held it died."""


class Observer(Protocol):
    """What the servers of both dialects report."""

    def opened(self, allocation: Allocation) -> None:
        """A new allocation."""

    def refreshed(self, allocation: Allocation) -> None:
        """Its time was extended."""

    def closed(self, allocation: Allocation, reason: CloseReason) -> None:
        """It ended; ``allocation.traffic`` is what it has moved in all."""

    def refused(self, flow: Flow, dialect: Dialect, method: int, code: int) -> None:
        """A request got an error. ``code`` 0: it got no answer; ``method`` 0: it was no message at all."""
