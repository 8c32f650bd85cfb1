"""What a proxy refuses before routing: 400, 416, 420, 440, 482, 483."""

from __future__ import annotations

from typing import Any

import pytest

from parley.sip.message import Request, parse_message
from parley.sip.proxy import LoopDetector, ProxyError, max_breadth, share_breadth, validate_request

OWN = "proxy.example.test"


def make_request(
    method: str = "INVITE",
    uri: str = "sip:bob@example.test",
    *,
    vias: tuple[str, ...] = ("192.0.2.1;branch=z9hG4bKup",),
    extra: tuple[tuple[str, str], ...] = (),
) -> Request:
    return Request.create(
        method,
        uri,
        headers=[
            *(("Via", f"SIP/2.0/UDP {via}") for via in vias),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", "<sip:bob@example.test>"),
            ("Call-ID", "call-1"),
            ("CSeq", f"1 {method}"),
            *extra,
        ],
    )


def detector(secret: bytes = b"secret") -> LoopDetector:
    return LoopDetector(secret, lambda via: via.host == OWN)


def status(request: Request, **kwargs: Any) -> int | None:
    error = validate_request(request, **kwargs)
    return None if error is None else error.status


def test_a_plain_request_passes() -> None:
    assert status(make_request(), loops=detector()) is None
    assert status(make_request(extra=(("Max-Forwards", "1"),))) is None


@pytest.mark.parametrize("uri", ["sip:bob@example.test", "SIPS:bob@example.test", "tel:+15551234"])
def test_known_schemes_pass(uri: str) -> None:
    assert status(make_request(uri=uri)) is None


@pytest.mark.parametrize("uri", ["http://example.test/", "nobodyKnowsThisScheme:totallyopaquecontent", "bob"])
def test_unknown_scheme_is_416(uri: str) -> None:
    assert status(make_request(uri=uri)) == 416


def test_scheme_list_can_be_narrowed() -> None:
    assert status(make_request(uri="tel:+15551234"), schemes=("sip",)) == 416


def test_used_up_max_forwards_is_483() -> None:
    assert status(make_request(extra=(("Max-Forwards", "0"),))) == 483


def test_used_up_max_forwards_is_let_through_for_local_answers() -> None:
    request = make_request("OPTIONS", extra=(("Max-Forwards", "0"),))
    assert status(request, allow_zero_max_forwards=True) is None


def test_proxy_require_names_what_is_not_supported() -> None:
    request = make_request(extra=(("Proxy-Require", "foo, sec-agree"), ("Proxy-Require", "bar")))
    error = validate_request(request, supported={"sec-agree"})
    assert error is not None
    assert (error.status, error.headers) == (420, (("Unsupported", "foo, bar"),))
    response = error.to_response(request, "t1")
    assert response.status == 420
    assert response.get("Unsupported") == "foo, bar"
    assert response.to_tag == "t1"


def test_supported_proxy_require_passes() -> None:
    assert status(make_request(extra=(("Proxy-Require", "Sec-Agree"),)), supported={"sec-agree"}) is None


def test_method_must_agree_with_cseq() -> None:
    request = Request.create(
        "INVITE",
        "sip:bob@example.test",
        headers=[
            ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKup"),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", "<sip:bob@example.test>"),
            ("Call-ID", "call-1"),
            ("CSeq", "1 OPTIONS"),
        ],
    )
    assert status(request) == 400


@pytest.mark.parametrize("missing", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_missing_header_is_400(missing: str) -> None:
    request = make_request()
    request.remove(missing)
    assert status(request) == 400


@pytest.mark.parametrize(("name", "value"), [("CSeq", "one INVITE"), ("Max-Forwards", "many"), ("To", "<sip:bob")])
def test_unreadable_header_is_400(name: str, value: str) -> None:
    request = make_request()
    request.set(name, value)
    assert status(request) == 400


def loop_back(request: Request, loops: LoopDetector) -> Request:
    """The request as it comes back after having passed this proxy and another one."""
    copy = request.copy()
    branch = loops.branch("unique1", loops.fingerprint(request))
    copy.prepend("Via", f"SIP/2.0/UDP {OWN};branch={branch}")
    copy.prepend("Via", "SIP/2.0/UDP other.example.test;branch=z9hG4bKother")
    return copy


def test_unchanged_request_that_comes_back_is_a_loop() -> None:
    loops = detector()
    assert status(loop_back(make_request(), loops), loops=loops) == 482


def test_loop_is_found_after_the_bytes_went_over_the_wire() -> None:
    loops = detector()
    request = parse_message(bytes(loop_back(make_request(), loops)))
    assert isinstance(request, Request)
    assert loops.looped(request)


def test_spiral_passes() -> None:
    loops = detector()
    request = loop_back(make_request(), loops)
    request.set_uri("sip:carol@example.test")
    assert status(request, loops=loops) is None


def test_changed_route_is_a_spiral() -> None:
    loops = detector()
    request = loop_back(make_request(), loops)
    request.prepend("Route", "<sip:elsewhere.example.test;lr>")
    assert not loops.looped(request)


def test_vias_of_others_are_not_looked_at() -> None:
    loops = detector()
    request = loop_back(make_request(), loops)
    assert not LoopDetector(b"secret", lambda via: False).looped(request)
    assert not detector(b"other secret").looped(request)


def test_fingerprint_is_the_same_for_cancel_and_ack() -> None:
    loops = detector()
    invite = make_request("INVITE")
    assert loops.fingerprint(invite) == loops.fingerprint(make_request("CANCEL"))
    assert loops.fingerprint(invite) == loops.fingerprint(make_request("ACK"))


def test_branch_has_the_magic_cookie() -> None:
    loops = detector()
    branch = loops.branch("u1", loops.fingerprint(make_request()))
    assert branch.startswith("z9hG4bKu1.")


@pytest.mark.parametrize(("value", "breadth"), [(None, 60), ("5", 5), ("0", 0), ("-1", 60), ("x", 60), ("9999999999", 60)])
def test_max_breadth(value: str | None, breadth: int) -> None:
    extra = () if value is None else (("Max-Breadth", value),)
    assert max_breadth(make_request(extra=extra)) == breadth


def test_breadth_is_divided_fairly() -> None:
    assert share_breadth(7, 3) == [3, 2, 2]
    assert share_breadth(60, 1) == [60]
    assert share_breadth(60, 0) == []


def test_too_little_breadth_is_440() -> None:
    with pytest.raises(ProxyError) as caught:
        share_breadth(2, 3)
    assert caught.value.status == 440
