"""What a proxy checks before it routes a request (RFC 3261 section 16.3).

The checks come in the order of the RFC: reasonable syntax (400), scheme (416), Max-Forwards (483), loops
(482), Proxy-Require (420). Proxy-Authorization is the authenticator's business.
"""

from __future__ import annotations

from collections.abc import Collection

from parley.sip.errors import SipParseError
from parley.sip.message import Request
from parley.sip.proxy.errors import ProxyError
from parley.sip.proxy.loops import LoopDetector

DEFAULT_SCHEMES = frozenset({"sip", "sips", "tel"})
"""The Request-URI schemes that are understood."""


def validate_request(
    request: Request,
    *,
    loops: LoopDetector | None = None,
    supported: Collection[str] = (),
    schemes: Collection[str] = DEFAULT_SCHEMES,
    allow_zero_max_forwards: bool = False,
) -> ProxyError | None:
    """Say why this request cannot be forwarded, None when it can.

    ``supported`` are the option tags a Proxy-Require may name, in lower case. ``allow_zero_max_forwards`` is
    for a caller that answers the request itself and never forwards it: RFC 3261 lets an element answer
    OPTIONS and REGISTER whose Max-Forwards is used up.
    """
    try:
        return (
            _check_scheme(request, schemes)
            or _check_syntax(request)
            or (None if allow_zero_max_forwards else _check_max_forwards(request))
            or (ProxyError(482) if loops is not None and loops.looped(request) else None)
            or _check_proxy_require(request, supported)
        )
    except SipParseError as error:
        return ProxyError(error.status, error.reason)


def _check_syntax(request: Request) -> ProxyError | None:
    """Touch every header the proxy needs: an unreadable or missing one raises SipParseError (400)."""
    if request.cseq.method != request.method:
        return ProxyError(400, "CSeq Method Does Not Match")
    _ = (request.via, request.from_, request.to, request.call_id, request.uri)
    return None


def _check_scheme(request: Request, schemes: Collection[str]) -> ProxyError | None:
    scheme, colon, _ = request.uri_text.partition(":")
    return None if colon and scheme.lower() in schemes else ProxyError(416)


def _check_max_forwards(request: Request) -> ProxyError | None:
    hops = request.max_forwards
    return ProxyError(483) if hops is not None and hops <= 0 else None


def _check_proxy_require(request: Request, supported: Collection[str]) -> ProxyError | None:
    if request.get("Proxy-Require") is None:
        return None
    unknown = [tag for tag in request.values("Proxy-Require") if tag.lower() not in supported]
    return ProxyError(420, headers=(("Unsupported", ", ".join(unknown)),)) if unknown else None
