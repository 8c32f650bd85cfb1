"""What transactions tell their user (RFC 3261 section 17; RFC 6026).

A transaction queues these while an input is handled; the shell drains them with ``events()`` right after it.
The order is the order in which they have to be carried out.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley.sip.message import Request, Response


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Write this message to the transaction's transport."""

    message: Request | Response
    retransmission: bool = False


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response for the user of a client transaction; retransmissions are filtered, except of a 2xx to
    INVITE.
    """

    response: Response


@dataclass(frozen=True, slots=True)
class AckReceived:
    """An ACK that matched an INVITE server transaction.

    ``end_to_end`` is true when a 2xx was sent: the ACK then belongs to the dialog and a proxy forwards it as
    a request of its own (RFC 6026 section 7.1). It is false for the hop-by-hop ACK of a failure, which ends
    here.
    """

    request: Request
    end_to_end: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A CANCEL matched an INVITE server transaction that has no final response yet (RFC 3261 section 9.2)."""

    request: Request


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Client: no final response in time (timers B, F; or nothing after CANCEL). Server: no ACK came (timer
    H).
    """


@dataclass(frozen=True, slots=True)
class TransportFailed:
    """A message of this transaction could not be sent (RFC 3261 section 18.4)."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """The transaction is over and can be forgotten. Always the last event, and told once."""


TransactionEvent = SendMessage | ResponseReceived | AckReceived | Cancelled | TimedOut | TransportFailed | Terminated
"""Any of the events of this module."""
