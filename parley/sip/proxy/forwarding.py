"""Making the copy of a request that is sent to a target (RFC 3261 section 16.6).

The steps are those of the RFC: copy, Request-URI, Max-Forwards, Record-Route, Route, next hop, Via. Nothing
else of the message is touched, so unknown headers and bodies arrive as they were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parley.sip.message import Request
from parley.sip.proxy.errors import ProxyError
from parley.sip.proxy.recordroute import add_record_routes, take_next_hop
from parley.sip.uri import Uri

DEFAULT_MAX_FORWARDS = 70
"""What a request without Max-Forwards gets (RFC 3261 section 16.6 item 3)."""


@dataclass(frozen=True, slots=True)
class OutgoingVia:
    """The Via this element puts on: the transport in capitals, and where responses shall come to."""

    transport: str
    sent_by: str
    branch: str
    rport: bool = True
    """Ask for the response to come back to the source port (RFC 3581)."""

    def __str__(self) -> str:
        rport = ";rport" if self.rport else ""
        return f"SIP/2.0/{self.transport} {self.sent_by};branch={self.branch}{rport}"


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A copy that is ready to be sent, and the hop it goes to."""

    request: Request
    next_hop: Uri


def prepare_request(
    request: Request,
    *,
    via: OutgoingVia,
    uri: str | None = None,
    route: Sequence[str] = (),
    record_routes: tuple[str, str] | None = None,
    max_breadth: int | None = None,
) -> PreparedRequest:
    """Copy ``request`` for one target (RFC 3261 section 16.6); the original stays as it is.

    ``uri`` replaces the Request-URI (None keeps it, as for a request within a dialog). ``route`` are URIs or
    name-addrs to put in front of the Route, first hop first (the target's Path). ``record_routes`` are the
    URIs (inbound, outbound) of this proxy, None to stay out of the dialog. ``max_breadth`` is this branch's
    share of the Max-Breadth, None to leave that header alone.

    Raises ProxyError 483 when Max-Forwards is used up, and SipParseError for an unreadable Route or URI.
    """
    copy = request.copy()
    if uri is not None and uri != copy.uri_text:
        copy.set_uri(uri)
    hops = copy.max_forwards
    if hops is not None and hops <= 0:
        raise ProxyError(483)
    copy.set("Max-Forwards", str(DEFAULT_MAX_FORWARDS if hops is None else hops - 1))
    if max_breadth is not None:
        copy.set("Max-Breadth", str(max_breadth))
    if record_routes is not None:
        add_record_routes(copy, *record_routes)
    for value in reversed(route):
        copy.prepend("Route", value if value.rstrip().endswith(">") or "<" in value else f"<{value}>")
    hop = take_next_hop(copy)
    copy.prepend("Via", str(via))
    return PreparedRequest(copy, hop)
