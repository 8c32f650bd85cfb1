"""Allocations: what a relay keeps for each client, whatever dialect the client speaks.

Both dialects (RFC 8656 and MS-TURN) and both data planes work on these. Times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from parley.stun.addresses import Address, Family


class Transport(StrEnum):
    """How a client reaches the server."""

    UDP = "udp"
    DTLS = "dtls"
    TCP = "tcp"
    TLS = "tls"

    @property
    def is_stream(self) -> bool:
        """Whether messages have to be told apart in a stream of bytes."""
        return self in (Transport.TCP, Transport.TLS)


class Dialect(StrEnum):
    """What a client speaks; it is settled with its first message and never changes."""

    TURN = "turn"
    MS_TURN = "ms-turn"


@dataclass(frozen=True, slots=True)
class Flow:
    """A client's five-tuple. ``server``: the address of ours that the client's packets come to, as it is bound."""

    transport: Transport
    client: Address
    server: Address


@dataclass(slots=True, eq=False)
class Relay:
    """A port of ours that stands for a client.

    ``advertised``: its address as peers see it; ``local``: as it is bound; ``stream``: a TCP port (RFC 6062, MS-TURN over
    TCP); ``handle``: what the shell opened, not looked at by any core; ``dont_fragment``: it sends nothing in
    fragments.
    """

    advertised: Address
    local: Address
    stream: bool
    handle: Any
    dont_fragment: bool = False

    @property
    def family(self) -> Family:
        """IPv4 or IPv6."""
        return self.local.family


@dataclass(slots=True)
class Channel:
    """A number bound to a peer (RFC 8656 section 12)."""

    number: int
    peer: Address
    expires_at: float


@dataclass(slots=True)
class Traffic:
    """What has been relayed: payload bytes and packets, from the client to peers and back; and what was thrown away."""

    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0
    dropped_packets: int = 0


@dataclass(slots=True, eq=False)
class Allocation:
    """One client's share of the relay.

    ``number``: names it within its worker; ``username``: as the client gives it; ``user``: whom quotas and events mean by
    it; ``key``: of message integrity; ``relays``: one, or one of each family; ``permissions``: peer IP addresses, until
    when; ``rate``: bytes of payload per second that may pass each way, 0 for any number; ``lifetime``: seconds it was last
    given; ``kept_by_traffic``: it does not end while packets pass (MS-TURN); ``destination``: the active destination of
    MS-TURN, where raw payload goes; ``connection_id``: 20 bytes with MS-TURN.
    """

    number: int
    flow: Flow
    dialect: Dialect
    username: str
    key: bytes = field(repr=False)
    relays: tuple[Relay, ...]
    opened_at: float
    expires_at: float
    user: str = ""
    rate: int = 0
    lifetime: float = 0.0
    kept_by_traffic: bool = False
    permissions: dict[str, float] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    channel_by_peer: dict[Address, Channel] = field(default_factory=dict)
    destination: Address | None = None
    connection_id: bytes = b""
    traffic: Traffic = field(default_factory=Traffic)

    def relay_for(self, family: Family) -> Relay | None:
        """The relay that reaches peers of that family."""
        for relay in self.relays:
            if relay.family is family:
                return relay
        return None

    def permits(self, host: str, now: float) -> bool:
        """Whether packets may go to that peer address, and come from it."""
        return self.permissions.get(host, 0.0) > now
