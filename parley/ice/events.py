"""What an agent hands out: datagrams to send, and what has come about."""

from __future__ import annotations

from dataclasses import dataclass

from parley.ice.candidates import Candidate
from parley.stun.addresses import Address


@dataclass(frozen=True, slots=True)
class Datagram:
    """Bytes to send. ``base``: the local address they leave from, a socket's or that of a relay."""

    base: Address
    remote: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class Selected:
    """The pair of a component over which media goes from now on.

    ``base``: where it is sent from; ``local``: the candidate that the peer sees it come from, what a description names.
    """

    component: int
    base: Address
    local: Candidate
    remote: Candidate


@dataclass(frozen=True, slots=True)
class CandidateFound:
    """A local candidate was learnt that the peer should be told of."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class GatheringDone:
    """All servers have answered or will not."""


@dataclass(frozen=True, slots=True)
class Completed:
    """Every component has its pair."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No pair of a component works, and none can come."""

    component: int


@dataclass(frozen=True, slots=True)
class ConsentLost:
    """The peer has not answered for so long that nothing may be sent to it any more (RFC 7675)."""

    component: int


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """A role conflict was settled against us."""

    controlling: bool


Event = Selected | CandidateFound | GatheringDone | Completed | Failed | ConsentLost | RoleChanged
