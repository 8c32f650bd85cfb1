"""How messages find their transaction (RFC 3261 sections 17.1.3 and 17.2.3, RFC 2543 rules for old branches).

Server keys always contain the flow the request came in on: some clients use the same Call-IDs, tags and
branches as their neighbours, and a key from the wire alone would let one client answer for another. A request
whose branch has not the magic cookie (OCS-era clients send INVITE and requests in a dialog so) is matched by
the rules of RFC 2543.

Two deliberate differences from the letter of RFC 3261: the top Via is compared by transport and sent-by,
because a front end adds ``received`` and ``rport`` to it; and the To tag is left out of the RFC 2543 key, so
that an INVITE, its CANCEL and its ACK share one key (the ACK's tag is compared by the transaction itself;
requests of one dialog differ in CSeq).
"""

from __future__ import annotations

from collections.abc import Hashable

from parley.sip.message import Request, Response
from parley.sip.via import Via

MAGIC_COOKIE = "z9hG4bK"
"""What every branch made by RFC 3261 rules begins with."""


def has_rfc3261_branch(via: Via) -> bool:
    """Whether the branch of this Via identifies a transaction alone: the cookie and something after it."""
    branch = via.branch
    return branch is not None and len(branch) > 7 and branch[:7].lower() == "z9hg4bk"


def server_key(request: Request, flow_key: Hashable) -> Hashable:
    """The key of the server transaction a request belongs to; an ACK has that of its INVITE.

    ``flow_key`` names where the request came from (a connection, or a datagram socket and source address).
    Raises SipParseError when a header needed is unreadable.
    """
    method = request.method
    return _server_key(request, flow_key, "INVITE" if method == "ACK" else method)


def cancelled_key(cancel: Request, flow_key: Hashable) -> Hashable:
    """The key of the INVITE server transaction a CANCEL is about (RFC 3261 section 9.2)."""
    return _server_key(cancel, flow_key, "INVITE")


def _server_key(request: Request, flow_key: Hashable, method: str) -> Hashable:
    via = request.via
    if has_rfc3261_branch(via):
        return (flow_key, method, via.branch, via.host.lower(), via.port)
    return (
        flow_key,
        method,
        request.uri_text,
        request.from_tag,
        request.call_id,
        request.cseq.number,
        via.transport.upper(),
        via.host.lower(),
        via.port,
    )


def client_key(message: Request | Response) -> Hashable:
    """The key of the client transaction of a request we send, or of a response to it (RFC 3261 section
    17.1.3).

    Branch and CSeq method suffice: the branch is our own and unique.
    """
    return (message.via.branch, message.cseq.method)
