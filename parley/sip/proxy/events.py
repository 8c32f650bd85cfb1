"""What a forking context wants done (RFC 3261 sections 16.6 to 16.10)."""

from __future__ import annotations

from dataclasses import dataclass

from parley.sip.message import Response
from parley.sip.proxy.targets import Target


@dataclass(frozen=True, slots=True)
class StartBranch:
    """Send a copy of the request to ``target`` in a client transaction of its own."""

    branch_id: int
    target: Target
    max_breadth: int
    """This branch's share of the request's Max-Breadth (RFC 5393)."""


@dataclass(frozen=True, slots=True)
class CancelBranch:
    """Cancel the INVITE of a branch; it has answered provisionally, so a CANCEL may be sent (section 9.1)."""

    branch_id: int
    reason: str | None
    """The value of a Reason header (RFC 3326), None for no such header."""


@dataclass(frozen=True, slots=True)
class ForwardResponse:
    """Give this response to the server transaction; our own Via is off already."""

    response: Response
    branch_id: int | None
    """The branch it came from, None for a response made here."""


@dataclass(frozen=True, slots=True)
class AbandonedAnswer:
    """A 2xx nobody waits for any more: acknowledge it and end its dialog (see ``abandon.py``), forward
    nothing.
    """

    branch_id: int
    response: Response
    """As it was received, our Via on top."""
    retransmission: bool
    """Seen before: the ACK got lost, send it again, but no second BYE."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Every branch has ended and the request is answered."""

    status: int
    """The final status that was forwarded."""


ForkingEvent = StartBranch | CancelBranch | ForwardResponse | AbandonedAnswer | Finished
"""Any of the events of this module."""
