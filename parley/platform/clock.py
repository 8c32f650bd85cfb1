"""Time as a dependency, so that tests can move it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that never goes back, and one that people read."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary beginning."""

    def wall(self) -> float:
        """Seconds since the Unix epoch."""


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, monotonic: float = 1_000.0, wall: float = 1_750_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        """The monotonic time set."""
        return self._monotonic

    def wall(self) -> float:
        """The wall-clock time set."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Moves both clocks."""
        self._monotonic += seconds
        self._wall += seconds
