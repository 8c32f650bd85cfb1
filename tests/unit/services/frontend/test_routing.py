"""The routing table: which row takes which request."""

from __future__ import annotations

import pytest

from parley.sip.uri import parse_uri
from services.frontend.routing import APPLICATION_ROWS, Destination, RouteRow, RoutingTable

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


MESSAGES = RoutingTable(["example.test"], APPLICATION_ROWS)


@pytest.mark.parametrize(
    ("method", "uri", "messages", "application"),
    [
        ("MESSAGE", "sip:bob@example.test", False, "messaging"),
        ("MESSAGE", "sip:bob@elsewhere.test", False, ""),
        ("MESSAGE", "sip:example.test", False, ""),
        ("INVITE", "sip:bob@example.test", True, "messaging"),
        ("INVITE", "sip:bob@example.test", False, ""),
        ("INVITE", "sip:bob@elsewhere.test", True, ""),
        ("INVITE", "sip:bob@example.test;opaque=app:conf:focus:id:1", True, "conference"),
        ("BYE", "sip:bob@example.test;opaque=app:messaging:1", False, "messaging"),
    ],
)
def test_messages_go_to_their_service(method: str, uri: str, messages: bool, application: str) -> None:
    assert MESSAGES.route(method, "", parse_uri(uri), messages=messages).application == application


@pytest.mark.parametrize(
    ("uri", "destination", "aor"),
    [
        ("sip:bob@example.test", Destination.USER, "sip:bob@example.test"),
        ("sip:Example.Test", Destination.SERVER, ""),
        ("sip:bob@elsewhere.test", Destination.OUTSIDE, ""),
    ],
)
def test_past_applications(uri: str, destination: Destination, aor: str) -> None:
    route = MESSAGES.past_applications(parse_uri(uri))
    assert (route.destination, route.aor) == (destination, aor)


@pytest.mark.parametrize(
    ("uri", "content_type"),
    [
        ("sip:MRASLoc.example.test@example.test;gruu;opaque=srvr:MRAS", ""),
        ("sip:mras@example.test", "application/msrtc-media-relay-auth+xml"),
    ],
)
def test_who_asks_for_relay_credentials_comes_to_the_edge(uri: str, content_type: str) -> None:
    table = RoutingTable(["example.test"], APPLICATION_ROWS)
    assert table.route("SERVICE", "", parse_uri(uri), content_type=content_type).application == "avedge"
