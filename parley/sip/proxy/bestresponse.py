"""Which of several final responses is forwarded (RFC 3261 section 16.7 items 6 and 7; RFC 5626 section 5.3).

The order: any 6xx; else the lowest class. Within the 4xx class those that tell the caller how to try again
(401, 407, 415, 420, 484) come first, then what a person decided or a device said, and last what merely says
that a branch led nowhere (404, 480, 408, 487, 430). A response made here yields to an equal one that was
received.
"""

from __future__ import annotations

from collections.abc import Sequence

from parley.sip.message import Request, Response, make_response

_PREFERENCE = {
    401: 0,
    407: 0,
    415: 1,
    420: 1,
    484: 1,
    480: 3,
    404: 4,
    410: 4,
    408: 5,
    487: 6,
    430: 7,
}
_ORDINARY = 2
_CHALLENGES = ("WWW-Authenticate", "Proxy-Authenticate")


def response_rank(status: int, local: bool) -> tuple[int, int, bool]:
    """The sort key of a final non-2xx response: the lowest is forwarded."""
    kind = 0 if status >= 600 else status // 100
    return (kind, _PREFERENCE.get(status, _ORDINARY), local)


def finish_response(request: Request, best: Response, others: Sequence[Response], to_tag: str) -> Response:
    """What goes upstream when ``best`` was chosen: a response that may be changed, without our Via.

    A 503 says that this one next hop is overloaded and becomes 500; a 430 is between proxies only and becomes
    480. A 401 or 407 gets the challenges of all others (section 16.7 item 7).
    """
    if best.status == 503:
        return make_response(request, 500, to_tag=best.to_tag or to_tag)
    if best.status == 430:
        return make_response(request, 480, to_tag=best.to_tag or to_tag)
    if best.status in (401, 407):
        for other in others:
            if other is not best and other.status in (401, 407):
                for name in _CHALLENGES:
                    for value in other.get_all(name):
                        best.add(name, value)
    return best
