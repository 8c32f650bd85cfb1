"""What goes wrong again and again is told when it is news, and then every ten seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 10.0
_MOST_LINES: Final = 256


class Repeats:
    """One thing that may go wrong."""

    __slots__ = ("_every_s", "_now", "_said_at", "_text")

    def __init__(self, now: Callable[[], float] = time.monotonic, every_s: float = EVERY_S) -> None:
        """``now``: seconds from any beginning."""
        self._now = now
        self._every_s = every_s
        self._text: str | None = None
        self._said_at = 0.0

    def is_due(self, text: str) -> bool:
        """Whether to tell; it counts as told then."""
        now = self._now()
        if text == self._text and now - self._said_at < self._every_s:
            return False
        self._text, self._said_at = text, now
        return True

    def over(self) -> None:
        """It goes well again, so whatever comes is news."""
        self._text = None


class RepeatFilter(logging.Filter):
    """For lines of a library that tells the same at every try. ``name``: of its loggers; those of others all pass."""

    def __init__(self, name: str, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name)
        self._now = now
        self._lines: dict[str, Repeats] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if not super().filter(record):
            return True
        text = record.getMessage()
        if len(self._lines) >= _MOST_LINES:
            self._lines.clear()
        return self._lines.setdefault(text, Repeats(self._now)).is_due(text)
