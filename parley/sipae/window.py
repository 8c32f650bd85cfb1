"""Message numbers that came already: a sliding window (MS-SIPAE section 3.3.5.3)."""

from __future__ import annotations

from typing import Final

SIZE: Final = 256


class ReplayWindow:
    """Takes each number once; numbers far below the highest are taken for old ones."""

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest: int = 0
        self._seen: int = 0

    def is_new(self, number: int) -> bool:
        """Whether a number may be taken; 0 and less never."""
        if number <= 0:
            return False
        behind = self._highest - number
        return behind < 0 or (behind < SIZE and not self._seen >> behind & 1)

    def take(self, number: int) -> None:
        """Notes a number whose message was genuine."""
        behind = self._highest - number
        if behind < 0:
            self._seen = (self._seen << min(-behind, SIZE) | 1) & ((1 << SIZE) - 1)
            self._highest = number
        else:
            self._seen |= 1 << behind
