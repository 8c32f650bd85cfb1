"""Relay ports kept for a client's next allocation (RFC 8656 section 7.2, EVEN-PORT with the R bit)."""

from __future__ import annotations

import secrets
from math import inf
from typing import Final

from parley.stun.turn.allocations import Relay
from parley.stun.turn.plane import RelayPorts

LIFETIME: Final = 30.0
_MAX: Final = 1024


class Reservations:
    """Ports held back, each for one token of 8 bytes whose first names the worker."""

    def __init__(self, ports: RelayPorts, worker: int) -> None:
        self._ports = ports
        self._worker = bytes((worker,))
        self._held: dict[bytes, tuple[Relay, float]] = {}

    @property
    def is_full(self) -> bool:
        """Whether no more can be held."""
        return len(self._held) >= _MAX

    def hold(self, relay: Relay, now: float) -> bytes:
        """The token for a port."""
        token = self._worker + secrets.token_bytes(7)
        self._held[token] = (relay, now + LIFETIME)
        return token

    def adopt(self, token: bytes, relay: Relay, now: float) -> None:
        """A port that another worker held, and whose client has come here."""
        self._held[token] = (relay, now + LIFETIME)

    def claim(self, token: bytes, now: float) -> Relay | None:
        """The port held for a token, which is used up."""
        held = self._held.pop(token, None)
        if held is None:
            return None
        relay, until = held
        if until <= now:
            self._ports.close(relay)
            return None
        return relay

    def expire(self, now: float) -> float:
        """Gives back those that nobody came for; the next time to call this. They are held equally long, so in order."""
        while self._held:
            token, (relay, until) = next(iter(self._held.items()))
            if until > now:
                return until
            del self._held[token]
            self._ports.close(relay)
        return inf

    def close(self) -> None:
        """Gives all back."""
        self.expire(inf)
