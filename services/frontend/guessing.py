"""Guessing is slowed down, whatever the scheme.

A source with many failures is told to come back later (503), and answers about a user with many failures are held back,
longer each time. A user who signs in well may send only so much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from parley.platform.clock import Clock
from parley.platform.limits import FailureCounter, RateLimiter
from services.frontend.config import LimitsConfig
from services.frontend.limits import refused
from services.frontend.proxying.wiring import Refusal

_MAX_DELAY_S: Final = 8.0


class GuessGuard:
    """What sources and users failed at lately."""

    def __init__(self, limits: LimitsConfig, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._clock = clock
        self._loop = loop
        self._sources = FailureCounter()
        self._users = FailureCounter()
        self._rate = RateLimiter(limits.user_requests_per_second, limits.user_request_burst)

    def source_refusal(self, source: str) -> Refusal | None:
        """Why nothing is judged for a source address now; None when it is."""
        if self._sources.count(source, self._clock.monotonic()) < self._limits.failures_per_source:
            return None
        refused("failures_per_source")
        return Refusal(503, "Too Many Failures", (("Retry-After", "60"),), limited=True)

    def rate_refusal(self, address: str) -> Refusal | None:
        """Why a user has to wait; None when there is no reason."""
        if self._rate.allow(address, self._clock.monotonic()):
            return None
        refused("user_requests")
        return Refusal(503, "Too Many Requests", (("Retry-After", "5"),), limited=True)

    def succeeded(self, login: str, realm: str) -> None:
        """A success wipes the user's slate."""
        self._users.forgive(_key(login, realm))

    def failed_unnamed(self, source: str) -> None:
        """Notes a failure of a source that did not say who it is."""
        self._sources.add(source, self._clock.monotonic())

    def failed(self, source: str, login: str, realm: str, answer: Callable[[], None]) -> None:
        """Notes a failure; ``answer`` is called now or after a while."""
        now = self._clock.monotonic()
        self._sources.add(source, now)
        excess = self._users.add(_key(login, realm), now) - self._limits.failures_per_user
        if excess <= 0:
            answer()
            return
        refused("failures_per_user")
        self._loop.call_later(min(_MAX_DELAY_S, 0.25 * 2 ** min(excess, 6)), answer)


def _key(login: str, realm: str) -> str:
    return f"{login.lower()}@{realm}"
