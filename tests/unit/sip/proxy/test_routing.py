"""Routes, Record-Routes and the copy of a request that leaves (RFC 3261 sections 16.4 and 16.6, RFC 5658)."""

from __future__ import annotations

import pytest

from parley.sip.message import Request, Response, make_response
from parley.sip.proxy import (
    OutgoingVia,
    ProxyError,
    add_record_routes,
    make_ack,
    make_bye,
    prepare_request,
    preprocess_routes,
)
from parley.sip.uri import Uri

VIA = OutgoingVia("TLS", "proxy.example.test:5061", "z9hG4bKnew")


def make_request(
    method: str = "INVITE",
    uri: str = "sip:bob@example.test",
    extra: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> Request:
    return Request.create(
        method,
        uri,
        headers=[
            ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKup"),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", "<sip:bob@example.test>"),
            ("Call-ID", "call-1"),
            ("CSeq", f"5 {method}"),
            ("X-Unknown", "kept  as it is"),
            *extra,
        ],
        body=body,
    )


def is_own(uri: Uri) -> bool:
    return uri.host == "proxy.example.test"


# Incoming routes


def test_request_without_route_is_left_alone() -> None:
    request = make_request()
    before = bytes(request)
    plan = preprocess_routes(request, is_own)
    assert (plan.own, plan.strict, plan.exit) == ((), False, None)
    assert bytes(request) == before


def test_own_routes_are_taken_off_and_the_last_is_the_way_out() -> None:
    request = make_request(
        extra=(
            (
                "Route",
                "<sip:in@proxy.example.test;transport=tls;lr>, <sip:out@proxy.example.test;transport=ws;lr>",
            ),
            ("Route", "<sip:other.example.test;lr>"),
            ("Route", "<sip:again@proxy.example.test;lr>"),
        )
    )
    plan = preprocess_routes(request, is_own)
    assert [value.uri.user for value in plan.own] == ["in", "out"]
    assert plan.exit is not None
    assert plan.exit.uri.user == "out"
    assert not plan.strict
    assert request.values("Route") == ["<sip:other.example.test;lr>", "<sip:again@proxy.example.test;lr>"]


def test_last_own_route_leaves_no_header() -> None:
    request = make_request(extra=(("Route", "<sip:proxy.example.test;lr>"),))
    preprocess_routes(request, is_own)
    assert request.get("Route") is None


def test_foreign_routes_stay() -> None:
    request = make_request(extra=(("Route", "<sip:other.example.test;lr>"),))
    assert preprocess_routes(request, is_own).own == ()
    assert request.values("Route") == ["<sip:other.example.test;lr>"]


def test_strict_router_before_us_is_undone() -> None:
    request = make_request(
        uri="sip:token@proxy.example.test;lr",
        extra=(("Route", "<sip:hop.example.test;lr>, <sip:bob@192.0.2.9>"),),
    )
    plan = preprocess_routes(request, is_own)
    assert plan.strict
    assert plan.exit is not None
    assert plan.exit.uri.user == "token"
    assert request.uri_text == "sip:bob@192.0.2.9"
    assert request.values("Route") == ["<sip:hop.example.test;lr>"]


def test_strict_router_with_a_single_route() -> None:
    request = make_request(uri="sip:token@proxy.example.test;lr", extra=(("Route", "<sip:bob@192.0.2.9>"),))
    assert preprocess_routes(request, is_own).strict
    assert request.uri_text == "sip:bob@192.0.2.9"
    assert request.get("Route") is None


def test_own_request_uri_without_lr_is_a_user_of_ours() -> None:
    request = make_request(uri="sip:bob@proxy.example.test", extra=(("Route", "<sip:other.example.test;lr>"),))
    assert not preprocess_routes(request, is_own).strict
    assert request.uri_text == "sip:bob@proxy.example.test"


# Record-Route


def test_two_sides_are_recorded_with_the_callees_on_top() -> None:
    request = make_request(extra=(("Record-Route", "<sip:before.example.test;lr>"),))
    add_record_routes(request, "sip:i@proxy.example.test;transport=udp;lr", "sip:o@proxy.example.test;transport=tls;lr")
    assert request.values("Record-Route") == [
        "<sip:o@proxy.example.test;transport=tls;lr>",
        "<sip:i@proxy.example.test;transport=udp;lr>",
        "<sip:before.example.test;lr>",
    ]


def test_one_side_is_recorded_once() -> None:
    request = make_request()
    add_record_routes(request, "sip:proxy.example.test;lr", "sip:proxy.example.test;lr")
    assert request.values("Record-Route") == ["<sip:proxy.example.test;lr>"]


# The copy that leaves


def test_copy_gets_uri_via_and_max_forwards_and_keeps_the_rest() -> None:
    request = make_request(body=b"\x00\xffbinary")
    before = bytes(request)
    prepared = prepare_request(request, via=VIA, uri="sip:bob@192.0.2.9:5062;transport=tcp")
    copy = prepared.request
    assert bytes(request) == before
    assert copy.uri_text == "sip:bob@192.0.2.9:5062;transport=tcp"
    assert copy.get_all("Via") == [
        "SIP/2.0/TLS proxy.example.test:5061;branch=z9hG4bKnew;rport",
        "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKup",
    ]
    assert copy.max_forwards == 70
    assert copy.get("X-Unknown") == "kept  as it is"
    assert copy.body == b"\x00\xffbinary"
    assert prepared.next_hop.host == "192.0.2.9"
    assert copy.get("Record-Route") is None
    assert copy.get("Max-Breadth") is None


def test_max_forwards_is_lowered() -> None:
    request = make_request(extra=(("Max-Forwards", "10"),))
    assert prepare_request(request, via=VIA).request.max_forwards == 9


def test_used_up_max_forwards_cannot_leave() -> None:
    with pytest.raises(ProxyError) as caught:
        prepare_request(make_request(extra=(("Max-Forwards", "0"),)), via=VIA)
    assert caught.value.status == 483


def test_via_without_rport() -> None:
    assert str(OutgoingVia("UDP", "[2001:db8::1]:5060", "z9hG4bKx", rport=False)) == (
        "SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx"
    )


def test_breadth_and_record_route_are_put_on() -> None:
    copy = prepare_request(
        make_request(extra=(("Max-Breadth", "60"),)),
        via=VIA,
        record_routes=("sip:in@proxy.example.test;lr", "sip:out@proxy.example.test;lr"),
        max_breadth=20,
    ).request
    assert copy.get_all("Max-Breadth") == ["20"]
    assert copy.values("Record-Route") == [
        "<sip:out@proxy.example.test;lr>",
        "<sip:in@proxy.example.test;lr>",
    ]


def test_path_becomes_route_and_the_next_hop() -> None:
    prepared = prepare_request(
        make_request(extra=(("Route", "<sip:old.example.test;lr>"),)),
        via=VIA,
        uri="sip:bob@192.0.2.9",
        route=("<sip:edge1.example.test;lr>", "sip:edge2.example.test;lr"),
    )
    assert prepared.request.values("Route") == [
        "<sip:edge1.example.test;lr>",
        "<sip:edge2.example.test;lr>",
        "<sip:old.example.test;lr>",
    ]
    assert prepared.next_hop.host == "edge1.example.test"


def test_strict_next_hop_gets_the_request_uri() -> None:
    request = make_request(extra=(("Route", "<sip:strict.example.test>, <sip:loose.example.test;lr>"),))
    prepared = prepare_request(request, via=VIA, uri="sip:bob@192.0.2.9")
    assert prepared.request.uri_text == "sip:strict.example.test"
    assert prepared.request.values("Route") == ["<sip:loose.example.test;lr>", "<sip:bob@192.0.2.9>"]
    assert prepared.next_hop.host == "strict.example.test"


def test_strict_next_hop_alone() -> None:
    request = make_request(extra=(("Route", "<sip:strict.example.test>"),))
    prepared = prepare_request(request, via=VIA, uri="sip:bob@192.0.2.9")
    assert prepared.request.uri_text == "sip:strict.example.test"
    assert prepared.request.values("Route") == ["<sip:bob@192.0.2.9>"]


# Answers nobody waits for


def abandoned() -> tuple[Request, Response]:
    request = make_request(extra=(("Record-Route", "<sip:before.example.test;lr>"),))
    sent = prepare_request(
        request,
        via=VIA,
        uri="sip:bob@192.0.2.9",
        record_routes=("sip:i@proxy.example.test;lr", "sip:o@proxy.example.test;lr"),
    ).request
    at_callee = sent.copy()
    at_callee.prepend("Record-Route", "<sip:near.example.test;lr>")
    at_callee.prepend("Record-Route", "<sip:far.example.test;lr>")
    response = make_response(at_callee, 200, to_tag="b1", headers=(("Contact", "<sip:bob@192.0.2.77:5070>"),))
    for value in reversed(at_callee.values("Record-Route")):
        if value not in response.values("Record-Route"):
            response.prepend("Record-Route", value)
    return sent, response


def test_late_answer_is_acknowledged_on_its_branch() -> None:
    sent, response = abandoned()
    ack = make_ack(sent, response, via="SIP/2.0/TLS proxy.example.test:5061;branch=z9hG4bKack")
    assert ack.request.method == "ACK"
    assert ack.request.uri_text == "sip:bob@192.0.2.77:5070"
    assert ack.request.values("Route") == ["<sip:near.example.test;lr>", "<sip:far.example.test;lr>"]
    assert ack.request.get_all("Via") == ["SIP/2.0/TLS proxy.example.test:5061;branch=z9hG4bKack"]
    assert (ack.request.cseq.number, ack.request.cseq.method) == (5, "ACK")
    assert (ack.request.from_tag, ack.request.to_tag) == ("a1", "b1")
    assert ack.next_hop.host == "near.example.test"


def test_late_answer_is_hung_up() -> None:
    sent, response = abandoned()
    bye = make_bye(sent, response, via="SIP/2.0/TLS proxy.example.test:5061;branch=z9hG4bKbye", reason="SIP;cause=200")
    assert bye.request.method == "BYE"
    assert (bye.request.cseq.number, bye.request.cseq.method) == (6, "BYE")
    assert bye.request.get("Reason") == "SIP;cause=200"
    assert bye.request.call_id == "call-1"


def test_answer_without_contact_is_ended_at_the_target() -> None:
    sent = prepare_request(make_request(), via=VIA, uri="sip:bob@192.0.2.9").request
    bye = make_bye(sent, make_response(sent, 200, to_tag="b1"), via=str(VIA))
    assert bye.request.uri_text == "sip:bob@192.0.2.9"
    assert bye.request.get("Route") is None
    assert bye.request.get("Reason") is None
