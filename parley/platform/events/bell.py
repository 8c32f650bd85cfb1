"""A bell that wakes the readers of other processes: who publishes rings, so nobody has to look often.

It is no more than a hint. A ring that is lost delays an event until the reader looks by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError

logger = logging.getLogger(__name__)

_KEY: Final = "parley:ev:bell"
_KEPT: Final = 64
_BLOCK_MS: Final = 1_000
"""Shorter than the store's own limit for a reply."""
_QUIET_S: Final = 0.01
"""Least time between two rings for a topic; a reader that found something looks again after that anyway."""
_AWAY_S: Final = 1.0


class Bell:
    """One for a process."""

    def __init__(self, store: Store, on_ring: Callable[[str], None]) -> None:
        """``on_ring``: told the topic that something was published in, by whichever process."""
        self._store = store
        self._on_ring = on_ring
        self._rung: dict[str, float] = {}
        self._listener: asyncio.Task[None] | None = None
        self._ringing: set[asyncio.Task[None]] = set()

    def ring(self, topic: str) -> None:
        """Something was published; nobody waits for the ring."""
        now = asyncio.get_running_loop().time()
        if now - self._rung.get(topic, 0.0) < _QUIET_S:
            return
        self._rung[topic] = now
        task = asyncio.get_running_loop().create_task(self._ring(topic))
        self._ringing.add(task)
        task.add_done_callback(self._ringing.discard)

    def listen(self) -> None:
        """Listens from now on."""
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen(), name="bell of the events")

    async def stop(self) -> None:
        """Ends what is under way."""
        tasks = [*self._ringing, *([self._listener] if self._listener is not None else [])]
        self._listener = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ring(self, topic: str) -> None:
        try:
            await self._store.execute("XADD", _KEY, "MAXLEN", "~", _KEPT, "*", "t", topic)
        except StoreError as error:
            logger.debug("a ring is lost: %s", error)

    async def _listen(self) -> None:
        last = ""
        while True:
            try:
                # A connection of its own, as the command holds it up.
                link = await self._store.link(_KEY, "bell")
                if not last:  # an entry by its id, not "$": so no ring falls between two commands
                    newest = await link.execute("XREVRANGE", _KEY, "+", "-", "COUNT", 1)
                    last = newest[0][0].decode() if newest else "0-0"
                reply = await link.execute("XREAD", "BLOCK", _BLOCK_MS, "STREAMS", _KEY, last)
            except StoreError as error:
                logger.debug("nobody rings: %s", error)
                last = ""
                await asyncio.sleep(_AWAY_S)
                continue
            entries = _entries(reply)
            if entries:
                last = entries[-1][0].decode()
            for topic in {fields[1].decode() for _, fields in entries}:
                self._on_ring(topic)


def _entries(reply: Any) -> list[tuple[bytes, list[bytes]]]:
    """The entries of the one stream that was read."""
    return reply[0][1] if reply else []
