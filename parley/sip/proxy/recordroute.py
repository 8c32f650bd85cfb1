"""Record-Route and Route (RFC 3261 sections 16.4, 16.6 item 4 and 16.12; RFC 5658).

A proxy that joins two transports or networks records itself twice, one value for each side, so that both ends
keep using the side they can reach. The value towards the callee stands on top. In-dialog requests then carry
both values; both are taken off, and the last one taken off is the side the request leaves by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parley.sip.message import Request
from parley.sip.nameaddr import NameAddr
from parley.sip.uri import Uri

DIALOG_FORMING = frozenset({"INVITE", "SUBSCRIBE", "REFER"})
"""Methods whose requests are recorded: they may create a dialog."""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What ``preprocess_routes`` found."""

    own: tuple[NameAddr, ...]
    """The Route values of ours that were taken off, in their order; the last names the way out."""
    strict: bool
    """Whether a strict router sent this: our own URI was in the Request-URI, and was replaced (section 16.4).
    """

    @property
    def exit(self) -> NameAddr | None:
        """The last of our values, that of the side the request leaves by."""
        return self.own[-1] if self.own else None


def preprocess_routes(request: Request, is_own: Callable[[Uri], bool]) -> RoutePlan:
    """Take this proxy's own values off a request's routes (changes ``request``; RFC 3261 section 16.4).

    ``is_own`` tells whether a URI is one this element put (or may have put) into a Record-Route, Path or
    Service-Route. When the Request-URI is such a URI with ``lr`` and there is a Route, a strict router sent
    the request: the last Route value becomes the Request-URI again, and what stood there counts as taken off.
    All own values on top of the Route are then removed. Raises SipParseError for an unreadable URI.
    """
    own: list[NameAddr] = []
    strict = False
    if request.get("Route") is None:
        return RoutePlan((), False)
    if "lr" in request.uri_text:
        uri = request.uri
        if "lr" in uri.params and is_own(uri):
            strict = True
            own.append(NameAddr("", request.uri_text))
            routes = request.values("Route")
            request.set_uri(request.routes[-1].uri_text)
            _set_routes(request, routes[:-1])
    while request.get("Route") is not None:
        top = request.routes[0]
        if not is_own(top.uri):
            break
        own.append(top)
        request.remove_first_value("Route")
    return RoutePlan(tuple(own), strict)


def add_record_routes(request: Request, inbound: str, outbound: str) -> None:
    """Record this proxy in a request (changes it): ``outbound`` faces the callee, ``inbound`` the caller.

    Both are URIs and must have the ``lr`` parameter. When they are equal one value is enough, else two are
    put on (RFC 5658).
    """
    if inbound != outbound:
        request.prepend("Record-Route", f"<{inbound}>")
    request.prepend("Record-Route", f"<{outbound}>")


def take_next_hop(request: Request) -> Uri:
    """Where a request goes that is ready to leave: its first Route, else its Request-URI (sections 16.6.6 and
    16.6.7).

    When that first Route value has no ``lr`` its hop is a strict router, and the request is rewritten for it:
    the Request-URI moves to the end of the Route and the value into the Request-URI. Raises SipParseError for
    an unreadable Route or Request-URI.
    """
    if request.get("Route") is None:
        return request.uri
    first = request.routes[0]
    if "lr" in first.uri.params:
        return first.uri
    request.remove_first_value("Route")
    _append_route(request, f"<{request.uri_text}>")
    request.set_uri(first.uri_text)
    return request.uri


def _append_route(request: Request, value: str) -> None:
    if request.get("Route") is None:
        request.prepend("Route", value)
    else:
        request.add("Route", value)


def _set_routes(request: Request, values: list[str]) -> None:
    if values:
        request.set("Route", ", ".join(values))
    else:
        request.remove("Route")
