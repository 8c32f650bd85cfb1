"""Candidates: transport addresses at which a component may be reached, their foundations and their priorities.

Sources: RFC 8445 sections 5.1.1 and 5.1.2, RFC 6544 section 4.5, [MS-ICE] 3.1.4.1 (priorities between 0 and 1).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from parley.stun.addresses import Address

RTP: Final = 1
RTCP: Final = 2
MAX_COMPONENT: Final = 256


class Dialect(StrEnum):
    """Which ICE a session speaks; the session description settles it."""

    RFC = "rfc8445"
    """RFC 8445: browsers, phones."""
    MS_ICE2 = "ms-ice2"
    """[MS-ICE2], after draft 19: Communicator 2007 R2 and later."""
    MS_ICE = "ms-ice"
    """[MS-ICE], after draft 6: Communicator 2007; every candidate has its own credentials."""


class CandidateType(StrEnum):
    """How a candidate was found."""

    HOST = "host"
    SERVER_REFLEXIVE = "srflx"
    PEER_REFLEXIVE = "prflx"
    RELAYED = "relay"

    @property
    def preference(self) -> int:
        """The type preference (RFC 8445 section 5.1.2.2)."""
        return _TYPE_PREFERENCES[self]


class CandidateTransport(Enum):
    """How packets travel between candidates."""

    UDP = "udp"
    TCP_ACTIVE = "active"
    TCP_PASSIVE = "passive"
    TCP_SIMULTANEOUS = "so"

    @property
    def is_tcp(self) -> bool:
        """Whether it is one of the kinds of TCP (RFC 6544)."""
        return self is not CandidateTransport.UDP

    def reaches(self, other: CandidateTransport) -> bool:
        """Whether a candidate of this kind can be paired with a remote one of the other (RFC 6544 section 6.2)."""
        return _COUNTERPARTS[self] is other


_COUNTERPARTS: Final = {
    CandidateTransport.UDP: CandidateTransport.UDP,
    CandidateTransport.TCP_ACTIVE: CandidateTransport.TCP_PASSIVE,
    CandidateTransport.TCP_PASSIVE: CandidateTransport.TCP_ACTIVE,
    CandidateTransport.TCP_SIMULTANEOUS: CandidateTransport.TCP_SIMULTANEOUS,
}
_TYPE_PREFERENCES: Final = {
    CandidateType.HOST: 126,
    CandidateType.PEER_REFLEXIVE: 110,
    CandidateType.SERVER_REFLEXIVE: 100,
    CandidateType.RELAYED: 0,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate.

    ``address``: its host may be a name as a peer wrote it (`is_usable` is false then); ``base``: where packets of a local
    candidate leave, None with remote ones; ``related``: the address it was made of; ``username`` and ``password``: of the
    dialect in which every candidate has its own, as text in base64 without filling; ``extensions``: names and values of a
    candidate line that mean nothing to ICE itself.
    """

    foundation: str
    component: int
    transport: CandidateTransport
    priority: int
    address: Address
    type: CandidateType
    related: Address | None = None
    base: Address | None = None
    username: str = ""
    password: str = ""
    extensions: tuple[tuple[str, str], ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether its host is an IP address, and its port can be sent to."""
        return is_ip(self.address.host) and (self.address.port > 0 or self.transport is CandidateTransport.TCP_ACTIVE)


def is_ip(host: str) -> bool:
    """Whether a host is an IP address without a zone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def candidate_priority(kind: CandidateType, component: int, local_preference: int = 65535) -> int:
    """The priority of a candidate, below 2**31 (RFC 8445 section 5.1.2.1). ``local_preference``: at most 65535."""
    return kind.preference << 24 | local_preference << 8 | (MAX_COMPONENT - component)


def legacy_priority(kind: CandidateType) -> int:
    """The priority of a candidate of [MS-ICE], in thousandths."""
    return _LEGACY_PRIORITIES[kind]


def legacy_type(priority: int) -> CandidateType:
    """The type that a priority of [MS-ICE] tells of, as its lines have none."""
    for kind in (CandidateType.RELAYED, CandidateType.SERVER_REFLEXIVE):
        if priority <= _LEGACY_PRIORITIES[kind]:
            return kind
    return CandidateType.HOST


# As libnice has them; [MS-ICE] only wants their order.
_LEGACY_PRIORITIES: Final = {
    CandidateType.HOST: 830,
    CandidateType.PEER_REFLEXIVE: 550,
    CandidateType.SERVER_REFLEXIVE: 550,
    CandidateType.RELAYED: 450,
}


class Foundations:
    """Gives candidates of one type, base and server the same foundation (RFC 8445 section 5.1.1.3)."""

    def __init__(self) -> None:
        self._known: dict[tuple[CandidateType, CandidateTransport, str, str], str] = {}

    def of(self, kind: CandidateType, transport: CandidateTransport, base: str, server: str = "") -> str:
        """The foundation. ``base``, ``server``: IP addresses."""
        return self._known.setdefault((kind, transport, base, server), str(len(self._known) + 1))


def pair_priority(controlling: int, controlled: int) -> int:
    """The priority of a pair, of those of its candidates (RFC 8445 section 6.1.2.3)."""
    return min(controlling, controlled) << 32 | max(controlling, controlled) << 1 | (controlling > controlled)
