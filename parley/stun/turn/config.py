"""What a TURN server is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from parley.stun.addresses import Family
from parley.stun.discovery import Discovery
from parley.stun.turn.peers import PeerPolicy

PERMISSION_LIFETIME: Final = 300.0
CHANNEL_LIFETIME: Final = 600.0


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """Settings of `TurnServer`.

    ``nonce_key``: 32 bytes, the same on all replicas; ``nonce_lifetime``, ``default_lifetime``, ``max_lifetime``: seconds;
    ``families``: of relay addresses; ``tcp``: whether TCP may be relayed (RFC 6062); ``worker``: 0 to 255, stands in
    whatever may come back to another worker; ``discovery``: the sockets of RFC 5780; ``software``: told to authenticated
    clients, "" for nothing.
    """

    realm: str
    nonce_key: bytes
    nonce_lifetime: int = 600
    families: frozenset[Family] = frozenset({Family.IPV4})
    default_lifetime: int = 600
    max_lifetime: int = 3600
    peers: PeerPolicy = field(default_factory=PeerPolicy)
    tcp: bool = True
    worker: int = 0
    discovery: Discovery | None = None
    software: str = ""


class Limiter(Protocol):
    """A rate for each key."""

    def allow(self, key: str, now: float) -> bool:
        """Whether one more is within the rate; ``now``: monotonic seconds."""
