"""Binding requests that wait for their answers, and when they are sent again (RFC 8489 section 6.2.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from parley.ice.checklist import Pair
from parley.ice.events import Datagram
from parley.ice.wire import WireForm


class Purpose(Enum):
    """What a request is for."""

    CHECK = auto()
    CONSENT = auto()


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds.

    ``pace``: between two new checks (Ta); ``first_wait``: before the first repetition (RTO), doubled each time; ``sends``:
    at most that often (Rc); ``last_wait``: after the last, in first waits (Rm); ``server_sends``: to a STUN server.
    ``nomination``: how long better pairs are waited for once one works; ``ms_nomination``: the same in [MS-ICE] (3.1.6.2).
    ``patience``: before a stream without a working pair has failed (RFC 8863).
    ``consent`` and ``consent_limit``: RFC 7675 section 5.1. ``keepalive``: RFC 8445 section 11.
    """

    pace: float = 0.05
    first_wait: float = 0.5
    sends: int = 7
    last_wait: int = 16
    server_sends: int = 4
    nomination: float = 0.5
    ms_nomination: float = 3.0
    patience: float = 39.5
    consent: float = 5.0
    consent_limit: float = 30.0
    keepalive: float = 15.0


@dataclass(slots=True, eq=False)
class Transaction:
    """One request. ``is_cancelled``: it is not sent again, but its answer counts for as long as it would have been."""

    purpose: Purpose
    pair: Pair
    datagram: Datagram
    transaction_id: bytes
    key: bytes = field(repr=False)
    form: WireForm
    priority: int
    controlling: bool
    nominated: bool
    wait: float
    due_at: float
    sends_left: int
    last_wait: float
    is_cancelled: bool = False

    def goes_on(self) -> bool:
        """Its time has come: whether it is to be repeated, or if cancelled waited for, rather than given up."""
        if self.sends_left == 0:
            return False
        self.sends_left -= 1
        self.wait *= 2
        self.due_at += self.wait if self.sends_left else self.last_wait
        return True
