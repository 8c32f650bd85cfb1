"""What services cannot begin without, and the wait for it.

Redis and Kafka come and go, and may come later than we do. A start waits for them, however long: the process lives, is not
ready, and says why, once when the reason changes and then every ten seconds. Once a service has started nothing of this
matters any more: its calls fail then while they are away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from enum import Enum
from typing import Final

from prometheus_client import Gauge

from parley.platform.clock import Clock
from parley.platform.events.api import EventBusError
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.repeats import Repeats

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0

_WAITING = Gauge("parley_process_waiting", "1 while the start of a service waits for this", ["what"])


class Need(Enum):
    """What a service may need to begin; the value is what people call it."""

    STORE = "Redis"
    EVENTS = "the event bus"


Check = Callable[[], Awaitable[None]]
"""Returns when something can be had. Raises StoreError or EventBusError, which say why not."""


class Waiting:
    """The wait of one process."""

    def __init__(
        self,
        checks: Mapping[Need, Check],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``checks``: for all that is needed."""
        self._checks = dict(checks)
        self._clock = clock
        self._sleep = sleep
        self._repeats = {need: Repeats(clock.monotonic) for need in checks}
        self._since: dict[Need, float] = {}
        self.reasons: dict[Need, str] = {}
        """What is waited for, and why it cannot be had."""

    async def missing(self, needs: Collection[Need]) -> set[Need]:
        """Those that cannot be had right now; each is tried once."""
        wanted = [need for need in Need if need in needs]
        reasons = await asyncio.gather(*(self._reason(need) for need in wanted))
        for need, reason in zip(wanted, reasons, strict=True):
            if reason:
                self._note(need, reason)
            else:
                self._note_there(need)
        return {need for need, reason in zip(wanted, reasons, strict=True) if reason}

    async def until(self, needs: Collection[Need]) -> None:
        """Returns when all can be had."""
        while await self.missing(needs):
            await self._sleep(RETRY_S)

    async def _reason(self, need: Need) -> str:
        """Why something cannot be had; "" when it can."""
        try:
            await self._checks[need]()
        except (StoreError, EventBusError) as error:
            return str(error) or "no reason is known"
        return ""

    def _note_there(self, need: Need) -> None:
        if self.reasons.pop(need, None) is not None:
            _WAITING.labels(need.value).set(0)
            self._repeats[need].over()
            waited = self._clock.monotonic() - self._since.pop(need)
            logger.info("%s is there, the start goes on", need.value, extra={"waited_seconds": round(waited, 1)})

    def _note(self, need: Need, reason: str) -> None:
        now = self._clock.monotonic()
        # Events on Redis fail with Redis, and need no line of their own.
        is_told = any(self.reasons.get(other) == reason for other in list(Need)[: list(Need).index(need)])
        self.reasons[need] = reason
        self._since.setdefault(need, now)
        _WAITING.labels(need.value).set(1)
        if not is_told and self._repeats[need].is_due(reason):
            waited = round(now - self._since[need], 1)
            logger.warning("the start waits: %s", reason, extra={"waits_for": need.value, "waited_seconds": waited})
