"""Limits per source and per user: token buckets and failure counters, bounded in memory.

Tables forget in two generations: what was not used for a period is gone after two. A full table starts a new generation
early, so a flood of made-up sources costs memory for one table and no more.
"""

from __future__ import annotations

from typing import Final

_TABLE: Final = 100_000


class RateLimiter:
    """A token bucket for each key."""

    def __init__(self, rate: float, burst: int) -> None:
        """``rate``: per second; ``burst``: at once."""
        self._rate = rate
        self._burst = float(burst)
        self._period = max(1.0, burst / rate)
        self._new: dict[str, tuple[float, float]] = {}
        self._old: dict[str, tuple[float, float]] = {}
        self._turn_at = 0.0

    def allow(self, key: str, now: float) -> bool:
        """Takes one token; False when there is none. ``now``: monotonic seconds."""
        if now >= self._turn_at or len(self._new) >= _TABLE:
            self._old = self._new
            self._new = {}
            self._turn_at = now + self._period
        state = self._new.get(key) or self._old.get(key)
        if state is None:
            self._new[key] = (self._burst - 1, now)
            return True
        tokens, at = state
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        if tokens < 1:
            self._new[key] = (tokens, now)
            return False
        self._new[key] = (tokens - 1, now)
        return True


class FailureCounter:
    """Failures of each key within the last one to two minutes."""

    def __init__(self, window_s: float = 60.0) -> None:
        self._window_s = window_s
        self._new: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._turn_at = 0.0

    def count(self, key: str, now: float) -> int:
        """Failures so far."""
        self._turn(now)
        return self._new.get(key, 0) + self._old.get(key, 0)

    def add(self, key: str, now: float) -> int:
        """One more; the number with it."""
        self._turn(now)
        self._new[key] = self._new.get(key, 0) + 1
        return self._new[key] + self._old.get(key, 0)

    def forgive(self, key: str) -> None:
        """A success wipes the slate."""
        self._new.pop(key, None)
        self._old.pop(key, None)

    def _turn(self, now: float) -> None:
        if now >= self._turn_at or len(self._new) >= _TABLE:
            stale = now >= self._turn_at + self._window_s
            self._old = {} if stale else self._new
            self._new = {}
            self._turn_at = now + self._window_s
