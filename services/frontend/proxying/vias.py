"""Branches for our Via: unique, telling who made them, ending in the fingerprint that shows loops (RFC 5393 section 4.2).

A response comes back to the address in the Via, which is the same for all front ends behind a balancer. So the branch says
which of them has the transaction.
"""

from __future__ import annotations

from itertools import count
from secrets import token_hex
from string import hexdigits
from typing import Final

from parley.sip.message import Request
from parley.sip.nonce import issuer_id
from parley.sip.proxy.loops import LoopDetector
from parley.sip.transaction.keys import MAGIC_COOKIE

_MAKER: Final = slice(len(MAGIC_COOKIE), len(MAGIC_COOKIE) + 2 * len(issuer_id("")))
_HEX: Final = frozenset(hexdigits)


class Branches:
    """Makes branches; no two of one front end, nor of two starts of it, are alike."""

    def __init__(self, loops: LoopDetector, edge_uid: str) -> None:
        self._loops = loops
        self._prefix = issuer_id(edge_uid).hex() + token_hex(5)
        self._numbers = count(1)

    def branch(self, request: Request) -> str:
        """A new branch for a copy of ``request``, which is taken as it was received."""
        return self._loops.branch(f"{self._prefix}{next(self._numbers):x}", self._loops.fingerprint(request))


def maker_of(branch: str) -> bytes | None:
    """The `issuer_id` of the front end that made a branch; None for one that no front end made.

    Anybody can write a branch of this form: it says whom to ask, no more.
    """
    text = branch[_MAKER]
    if not branch.startswith(MAGIC_COOKIE) or len(text) < _MAKER.stop - _MAKER.start or not _HEX.issuperset(text):
        return None
    return bytes.fromhex(text) if "." in branch[_MAKER.stop :] else None
