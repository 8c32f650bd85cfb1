"""How often it is worth telling that somebody types: Communicator says it every few seconds, RFC 3994 wants it rarely."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

REFRESH_S: Final = 60
"""Seconds for which an active status holds; the least that RFC 3994 section 3.2 recommends."""
_MOST: Final = 10_000


class TypingFilter:
    """What was told last of each conversation; conversations that were silent longest are forgotten first."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, float] = OrderedDict()

    def tell(self, conversation: str, *, typing: bool, now: float) -> int | None:
        """Seconds for which to tell it; None when it need not be told. ``now``: monotonic seconds."""
        told_at = self._told.get(conversation)
        if not typing:
            return None if self._told.pop(conversation, None) is None else REFRESH_S
        if told_at is not None and now - told_at < REFRESH_S - 10:
            return None
        self._told[conversation] = now
        self._told.move_to_end(conversation)
        if len(self._told) > _MOST:
            self._told.popitem(last=False)
        return REFRESH_S

    def said(self, conversation: str) -> None:
        """A message was sent: whoever got it takes the typing for over (RFC 3994 section 3.3)."""
        self._told.pop(conversation, None)
