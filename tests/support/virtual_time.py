"""An event loop whose time passes at once: who sleeps wakes when nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class _Skipping(selectors.DefaultSelector):
    """Waits for nothing; adds up for how long it would have."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now."""
        if timeout is not None and timeout > 0:
            self.skipped += timeout
            timeout = 0
        return super().select(timeout)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of a coroutine that touches no socket."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)
