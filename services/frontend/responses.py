"""What the front end answers by itself: OPTIONS, methods it does not serve, requests that cannot be read."""

from __future__ import annotations

from typing import Final

from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, make_response
from parley.sip.outbound import option_tags
from services.frontend.flows import Flow

SERVED: Final = ("REGISTER", "OPTIONS", "INVITE", "ACK", "CANCEL", "BYE")
KNOWN: Final = frozenset(
    (
        *SERVED,
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "REFER",
        "INFO",
        "UPDATE",
        "PRACK",
        "BENOTIFY",
        "SERVICE",
    )
)
ALLOW: Final = ", ".join(("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER"))
SUPPORTED: Final = frozenset({"path", "outbound", "gruu", "timer", "100rel", "replaces"})
"""Option tags that a Require may name in a request to the server itself."""


def answer_here(request: Request, flow: Flow) -> Response:
    """The answer to a request whose Request-URI is the server itself (RFC 3261 sections 8.2 and 11.2).

    Raises SipParseError when a header that every request must have is absent or unreadable.
    """
    method = request.method
    if method not in KNOWN:
        return make_response(request, 501, to_tag=flow.new_tag(), headers=(("Allow", ALLOW),))
    _ = (request.from_, request.to, request.call_id)
    if request.cseq.method != method:
        return make_response(request, 400, "CSeq Method Does Not Match", to_tag=flow.new_tag())
    unknown = sorted(option_tags(request, "Require") - SUPPORTED)
    if unknown and method != "CANCEL":
        headers: tuple[tuple[str, str], ...] = (("Unsupported", ", ".join(unknown)),)
        return make_response(request, 420, to_tag=flow.new_tag(), headers=headers)
    if method == "OPTIONS":
        headers = (
            ("Allow", ALLOW),
            ("Accept", "application/sdp, */*"),
            ("Accept-Encoding", "identity"),
            ("Accept-Language", "en"),
            ("Supported", "path, outbound, gruu"),
        )
        return make_response(request, 200, to_tag=flow.new_tag(), headers=headers)
    if method in ("BYE", "INFO", "UPDATE", "PRACK", "NOTIFY", "REFER", "BENOTIFY"):
        return make_response(request, 481, to_tag=flow.new_tag())
    if method == "SUBSCRIBE" or method == "PUBLISH":
        return make_response(request, 489, to_tag=flow.new_tag())
    return make_response(request, 405, to_tag=flow.new_tag(), headers=(("Allow", ALLOW),))


def answer_unreadable(error: SipParseError, flow: Flow) -> Response | None:
    """The answer to a request that was refused while it was read: it has those headers that the request has, as it has them.

    None when nothing of a request is known, for an ACK, which is never answered, and for a request without a Via: who sent
    that could not tell what the answer is about.
    """
    request = error.message
    if request is None or request.method == "ACK" or "Via" not in request:
        return None
    return make_response(request, error.status, error.reason, to_tag=flow.new_tag())
