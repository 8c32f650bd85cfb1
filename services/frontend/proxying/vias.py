"""Branches for our Via: unique, and ending in the fingerprint that shows loops (RFC 5393 section 4.2)."""

from __future__ import annotations

from itertools import count
from secrets import token_hex

from parley.sip.message import Request
from parley.sip.proxy.loops import LoopDetector


class Branches:
    """Makes branches; no two of one front end, nor of two starts of it, are alike."""

    def __init__(self, loops: LoopDetector) -> None:
        self._loops = loops
        self._prefix = token_hex(5)
        self._numbers = count(1)

    def branch(self, request: Request) -> str:
        """A new branch for a copy of ``request``, which is taken as it was received."""
        return self._loops.branch(f"{self._prefix}{next(self._numbers):x}", self._loops.fingerprint(request))
