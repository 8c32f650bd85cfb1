"""The routing table: which row takes which request."""

from __future__ import annotations

import pytest

from parley.sip.uri import parse_uri
from services.frontend.routing import Destination, RouteRow, RoutingTable

TABLE = RoutingTable(
    ["example.test", "Other.Test"],
    [
        RouteRow(Destination.APPLICATION, "presence", frozenset({"SUBSCRIBE", "PUBLISH"}), frozenset({"presence"})),
        RouteRow(Destination.APPLICATION, "focus", opaque="app:conf:focus:"),
        RouteRow(Destination.APPLICATION, "mediation", methods=frozenset({"INVITE"}), user=r"\+?[0-9]{3,15}"),
    ],
)


@pytest.mark.parametrize(
    ("method", "event", "uri", "destination", "application", "aor"),
    [
        ("OPTIONS", "", "sip:example.test", Destination.SERVER, "", ""),
        ("INVITE", "", "sip:bob@example.test", Destination.USER, "", "sip:bob@example.test"),
        ("INVITE", "", "sip:Bob@OTHER.test", Destination.USER, "", "sip:Bob@other.test"),
        ("SUBSCRIBE", "presence", "sip:bob@example.test", Destination.APPLICATION, "presence", ""),
        ("SUBSCRIBE", "dialog", "sip:bob@example.test", Destination.USER, "", "sip:bob@example.test"),
        (
            "INVITE",
            "",
            "sip:bob@example.test;gruu;opaque=app:conf:focus:id:77",
            Destination.APPLICATION,
            "focus",
            "",
        ),
        ("INVITE", "", "sip:+4930123456@example.test", Destination.APPLICATION, "mediation", ""),
        ("MESSAGE", "", "sip:+4930123456@example.test", Destination.USER, "", "sip:+4930123456@example.test"),
        ("INVITE", "", "sip:bob@elsewhere.test", Destination.OUTSIDE, "", ""),
        ("OPTIONS", "", "sip:127.0.0.1", Destination.SERVER, "", ""),
        ("OPTIONS", "", "sip:192.0.2.9", Destination.OUTSIDE, "", ""),
    ],
)
def test_route(method: str, event: str, uri: str, destination: Destination, application: str, aor: str) -> None:
    route = TABLE.route(method, event, parse_uri(uri), frozenset({"127.0.0.1"}))
    assert (route.destination, route.application, route.aor) == (destination, application, aor)
