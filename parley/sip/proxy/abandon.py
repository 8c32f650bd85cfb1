"""Ending a call that was answered too late (RFC 3261 sections 13.2.2.4 and 15).

When a 2xx arrives after the caller has got another final answer, forwarding it would help nobody: the proxy
itself acknowledges it and hangs up on that branch. Both requests go the way the 2xx came: remote target from
its Contact, route from its Record-Route without our own values and what lies before us.
"""

from __future__ import annotations

from collections.abc import Sequence

from parley.sip.message import Request, Response
from parley.sip.proxy.forwarding import PreparedRequest
from parley.sip.proxy.recordroute import take_next_hop


def make_ack(invite: Request, response: Response, *, via: str) -> PreparedRequest:
    """The ACK for a 2xx to ``invite``, the copy that was sent on that branch.

    ``via`` is the value of the Via to put on, with a new branch. Raises SipParseError when the 2xx has an
    unreadable Contact or Record-Route.
    """
    return _in_dialog("ACK", invite, response, invite.cseq.number, via)


def make_bye(invite: Request, response: Response, *, via: str, reason: str | None = None) -> PreparedRequest:
    """The BYE that ends the dialog of a 2xx to ``invite``; send it after the ACK, in a client transaction.

    Parameters and errors as for ``make_ack``; ``reason`` is the value of a Reason header (RFC 3326).
    """
    bye = _in_dialog("BYE", invite, response, invite.cseq.number + 1, via)
    if reason is not None:
        bye.request.add("Reason", reason)
    return bye


def _in_dialog(method: str, invite: Request, response: Response, cseq: int, via: str) -> PreparedRequest:
    contacts = response.contacts
    uri = contacts[0].uri_text if isinstance(contacts, list) and contacts else invite.uri_text
    headers: list[tuple[str, str]] = [("Max-Forwards", "70")]
    headers.extend(("Route", value) for value in _route_beyond_us(invite, response))
    headers.append(("From", invite.get("From") or ""))
    headers.append(("To", response.get("To") or ""))
    headers.append(("Call-ID", invite.call_id))
    headers.append(("CSeq", f"{cseq} {method}"))
    headers.append(("Content-Length", "0"))
    request = Request.create(method, uri, headers=headers)
    hop = take_next_hop(request)
    request.prepend("Via", via)
    return PreparedRequest(request, hop)


def _route_beyond_us(invite: Request, response: Response) -> Sequence[str]:
    """The Record-Route values of the hops between us and the callee, nearest first.

    In the 2xx the callee's side stands on top; what the INVITE carried when it left here comes last and is
    ours and that of the caller's side.
    """
    recorded = response.values("Record-Route")
    beyond = len(recorded) - len(invite.values("Record-Route"))
    return recorded[: max(0, beyond)][::-1]
