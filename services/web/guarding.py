"""Guessing of passwords over HTTP is slowed down: a source with many failures is refused, answers about a user held back."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from parley.platform.clock import Clock
from parley.platform.limits import FailureCounter
from services.web.config import WebLimitsConfig
from services.web.metrics import refused

_MAX_DELAY_S: Final = 8.0
_MAX_KEY: Final = 256


class FailureGuard:
    """What sources and users failed at lately."""

    def __init__(self, limits: WebLimitsConfig, clock: Clock, *, domain: str = "") -> None:
        """``domain``: in which a bare login is meant."""
        self._limits = limits
        self._domain = domain.lower()
        self._clock = clock
        self._sources = FailureCounter()
        self._users = FailureCounter()

    def refuses(self, source: str) -> bool:
        """Whether nothing is judged for a source address now."""
        if self._sources.count(source, self._clock.monotonic()) < self._limits.failures_per_source:
            return False
        refused("failures_per_source")
        return True

    def succeeded(self, login: str) -> None:
        """A success wipes the user's slate."""
        self._users.forgive(self._key(login))

    async def failed(self, source: str, login: str) -> None:
        """Notes a failure, and returns when it may be answered."""
        now = self._clock.monotonic()
        self._sources.add(source, now)
        excess = self._users.add(self._key(login), now) - self._limits.failures_per_user
        if excess > 0:
            refused("failures_per_user")
            await asyncio.sleep(min(_MAX_DELAY_S, 0.25 * 2 ** min(excess, 6)))

    def _key(self, login: str) -> str:
        """One for all spellings that the address book takes for the same login."""
        text, before = login.strip().lower(), ""
        while text != before:
            text, before = text.removeprefix("sip:").strip(), text
        if "@" not in text and "\\" not in text:
            text = f"{text}@{self._domain}"
        return text if len(text) <= _MAX_KEY else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
