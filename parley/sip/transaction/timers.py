"""The timer values of SIP transactions (RFC 3261 section 17 and table 4, with the changes of RFC 6026).

Everything is in seconds and derives from T1, T2 and T4. Over a reliable transport nothing is retransmitted
and the waits that only absorb retransmissions are zero.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timers:
    """The three base values, and every timer of RFC 3261 table 4 computed from them (seconds)."""

    t1: float = 0.5
    """Round-trip estimate."""
    t2: float = 4.0
    """Longest interval between retransmissions of a non-INVITE request or an INVITE response."""
    t4: float = 5.0
    """Longest time a message stays in the network."""
    trying_after: float | None = 0.2
    """An INVITE the user has not answered by then gets a 100 (RFC 3261 section 17.2.1); None leaves it to the
    user.
    """

    @property
    def transaction_timeout(self) -> float:
        """Timers B, F, H, L and M: 64*T1."""
        return 64 * self.t1

    def completed_invite_client(self, reliable: bool) -> float:
        """Timer D: how long a client absorbs retransmissions of a final non-2xx response to INVITE."""
        return 0.0 if reliable else max(32.0, 64 * self.t1)

    def completed_non_invite_client(self, reliable: bool) -> float:
        """Timer K: how long a client absorbs retransmissions of a final response."""
        return 0.0 if reliable else self.t4

    def completed_non_invite_server(self, reliable: bool) -> float:
        """Timer J: how long a server absorbs retransmissions of a request."""
        return 0.0 if reliable else 64 * self.t1

    def confirmed_invite_server(self, reliable: bool) -> float:
        """Timer I: how long a server absorbs retransmissions of an ACK."""
        return 0.0 if reliable else self.t4


DEFAULT_TIMERS = Timers()
"""The values RFC 3261 names as defaults."""
