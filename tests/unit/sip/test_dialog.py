"""Dialogs of applications (RFC 3261 section 12)."""

from __future__ import annotations

import pytest

from parley.sip.dialog import (
    Dialog,
    DialogError,
    DialogId,
    DialogState,
    dialog_id_of_request,
    dialog_id_of_response,
)
from parley.sip.message import Request, Response, make_response

RECORD_ROUTES = (("Record-Route", "<sip:p2.example.test;lr>, <sip:p1.example.test;lr>"),)


def make_request(
    method: str = "INVITE",
    *,
    cseq: int = 1,
    to_tag: str = "",
    from_tag: str = "a1",
    extra: tuple[tuple[str, str], ...] = (),
    contact: str = "<sip:alice@192.0.2.1>",
    uri: str = "sip:bob@example.test",
) -> Request:
    tag = f";tag={to_tag}" if to_tag else ""
    return Request.create(
        method,
        uri,
        headers=[
            ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKup"),
            ("From", f"Alice <sip:alice@example.test>;tag={from_tag}"),
            ("To", f"<sip:bob@example.test>{tag}"),
            ("Call-ID", "call-1"),
            ("CSeq", f"{cseq} {method}"),
            *((("Contact", contact),) if contact else ()),
            *extra,
        ],
    )


def answer(
    request: Request,
    status: int,
    *,
    contact: str = "<sip:bob@192.0.2.9>",
    tag: str | None = "b1",
    routes: tuple[tuple[str, str], ...] = RECORD_ROUTES,
) -> Response:
    response = make_response(request, status, to_tag=tag)
    response.remove("Record-Route")
    for name, value in routes:
        response.add(name, value)
    if contact:
        response.add("Contact", contact)
    return response


def caller(status: int = 200) -> tuple[Dialog, Request]:
    request = make_request()
    return Dialog.from_response(request, answer(request, status)), request


def callee(status: int = 200) -> Dialog:
    request = make_request(extra=RECORD_ROUTES)
    return Dialog.from_request(request, answer(request, status))


# Making


def test_caller_side() -> None:
    dialog, _ = caller()
    assert dialog.id == DialogId("call-1", "a1", "b1")
    assert dialog.state is DialogState.CONFIRMED
    assert dialog.remote_target == "sip:bob@192.0.2.9"
    assert dialog.route_set == ("<sip:p1.example.test;lr>", "<sip:p2.example.test;lr>")
    assert (dialog.local_cseq, dialog.remote_cseq) == (1, None)
    assert not dialog.secure


def test_callee_side() -> None:
    dialog = callee()
    assert dialog.id == DialogId("call-1", "b1", "a1")
    assert dialog.state is DialogState.CONFIRMED
    assert dialog.remote_target == "sip:alice@192.0.2.1"
    assert dialog.route_set == ("<sip:p2.example.test;lr>", "<sip:p1.example.test;lr>")
    assert (dialog.local_cseq, dialog.remote_cseq) == (None, 1)


def test_provisional_makes_an_early_dialog() -> None:
    assert caller(180)[0].state is DialogState.EARLY
    assert callee(183).state is DialogState.EARLY


def test_sips_makes_a_secure_dialog() -> None:
    request = make_request(uri="sips:bob@example.test")
    assert Dialog.from_response(request, answer(request, 200)).secure


@pytest.mark.parametrize("status", [100, 302, 486])
def test_other_responses_make_none(status: int) -> None:
    request = make_request()
    with pytest.raises(DialogError, match=f"a {status} makes no dialog"):
        Dialog.from_response(request, answer(request, status))
    with pytest.raises(DialogError, match=f"a {status} makes no dialog"):
        Dialog.from_request(request, answer(request, status))


def test_provisional_without_tag_makes_none() -> None:
    request = make_request()
    with pytest.raises(DialogError, match="without To tag"):
        Dialog.from_response(request, answer(request, 180, tag=None))


def test_callee_needs_its_tag_and_the_callers_contact() -> None:
    request = make_request(contact="")
    with pytest.raises(DialogError, match="the request has no Contact"):
        Dialog.from_request(request, answer(request, 200))
    with pytest.raises(DialogError, match="needs a To tag"):
        Dialog.from_request(make_request(), answer(make_request(), 200, tag=None))


def test_answer_without_contact_keeps_the_request_uri_as_target() -> None:
    request = make_request()
    assert Dialog.from_response(request, answer(request, 200, contact="")).remote_target == "sip:bob@example.test"


def test_messages_name_their_dialog() -> None:
    request = make_request("BYE", to_tag="b1")
    assert dialog_id_of_request(request) == callee().id
    assert dialog_id_of_response(answer(make_request(), 200)) == caller()[0].id
    assert dialog_id_of_request(make_request()).local_tag == ""


# Sending


def test_request_of_the_caller() -> None:
    dialog, _ = caller()
    request = dialog.create_request("BYE", headers=[("Reason", "SIP;cause=200")])
    assert request.uri_text == "sip:bob@192.0.2.9"
    assert request.values("Route") == ["<sip:p1.example.test;lr>", "<sip:p2.example.test;lr>"]
    assert request.get("From") == "Alice <sip:alice@example.test>;tag=a1"
    assert request.to_tag == "b1"
    assert (request.cseq.number, request.cseq.method) == (2, "BYE")
    assert request.get("Reason") == "SIP;cause=200"
    assert request.get("Contact") is None
    assert request.get("Via") is None
    assert request.content_length == 0


def test_request_of_the_callee_starts_its_own_numbers() -> None:
    dialog = callee()
    first = dialog.create_request("INFO", body=b"hello", content_type="text/plain")
    second = dialog.create_request("INFO")
    assert (first.cseq.number, second.cseq.number) == (1, 2)
    assert (first.from_tag, first.to_tag) == ("b1", "a1")
    assert first.body == b"hello"
    assert first.content_length == 5
    assert first.get("Content-Type") == "text/plain"


def test_target_refreshing_request_has_our_contact() -> None:
    dialog, _ = caller()
    assert dialog.create_request("INVITE").get_all("Contact") == ["<sip:alice@192.0.2.1>"]
    other = dialog.create_request("INVITE", headers=[("Contact", "<sip:alice@192.0.2.55>")])
    assert other.get_all("Contact") == ["<sip:alice@192.0.2.55>"]


def test_strict_router_gets_the_request_uri() -> None:
    request = make_request()
    routes = (("Record-Route", "<sip:p2.example.test;lr>, <sip:strict.example.test>"),)
    dialog = Dialog.from_response(request, answer(request, 200, routes=routes))
    bye = dialog.create_request("BYE")
    assert bye.uri_text == "sip:strict.example.test"
    assert bye.values("Route") == ["<sip:p2.example.test;lr>", "<sip:bob@192.0.2.9>"]


def test_without_routes_the_target_is_reached_directly() -> None:
    request = make_request()
    dialog = Dialog.from_response(request, answer(request, 200, routes=()))
    assert dialog.create_request("BYE").get("Route") is None


def test_ack_has_the_number_of_the_invite() -> None:
    dialog, _ = caller()
    dialog.create_request("INFO")
    ack = dialog.create_ack(body=b"v=0", content_type="application/sdp")
    assert (ack.cseq.number, ack.cseq.method) == (1, "ACK")
    assert ack.uri_text == "sip:bob@192.0.2.9"
    assert ack.body == b"v=0"
    reinvite = dialog.create_request("INVITE")
    assert dialog.create_ack().cseq.number == reinvite.cseq.number
    assert dialog.create_ack(1).cseq.number == 1


def test_ack_without_invite() -> None:
    with pytest.raises(DialogError, match="no INVITE was sent"):
        callee().create_ack()


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_are_no_new_requests(method: str) -> None:
    with pytest.raises(DialogError, match="takes no new CSeq"):
        caller()[0].create_request(method)


def test_nothing_is_sent_after_the_end() -> None:
    dialog, _ = caller()
    dialog.terminate()
    with pytest.raises(DialogError, match="the dialog is over"):
        dialog.create_request("INFO")


# Receiving


def test_requests_in_order_are_taken() -> None:
    dialog = callee()
    assert dialog.receive_request(make_request("INFO", cseq=2, to_tag="b1")) is None
    assert dialog.receive_request(make_request("INFO", cseq=9, to_tag="b1")) is None
    assert dialog.remote_cseq == 9


def test_request_out_of_order_is_500() -> None:
    dialog = callee()
    dialog.receive_request(make_request("INFO", cseq=5, to_tag="b1"))
    assert dialog.receive_request(make_request("INFO", cseq=4, to_tag="b1")) == 500
    assert dialog.remote_cseq == 5


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_carry_an_older_number(method: str) -> None:
    dialog = callee()
    dialog.receive_request(make_request("INFO", cseq=5, to_tag="b1"))
    assert dialog.receive_request(make_request(method, cseq=1, to_tag="b1")) is None
    assert dialog.remote_cseq == 5


def test_first_number_of_the_peer_is_free() -> None:
    dialog, _ = caller()
    assert dialog.receive_request(make_request("INFO", cseq=4711, from_tag="b1", to_tag="a1")) is None
    assert dialog.remote_cseq == 4711


def test_bye_ends_the_dialog() -> None:
    dialog = callee()
    assert dialog.receive_request(make_request("BYE", cseq=2, to_tag="b1")) is None
    assert dialog.state is DialogState.TERMINATED
    assert dialog.receive_request(make_request("INFO", cseq=3, to_tag="b1")) == 481


@pytest.mark.parametrize(("method", "moved"), [("INVITE", True), ("UPDATE", True), ("INFO", False), ("BYE", False)])
def test_requests_move_the_target(method: str, moved: bool) -> None:
    dialog = callee()
    dialog.receive_request(make_request(method, cseq=2, to_tag="b1", contact="<sip:alice@192.0.2.66>"))
    assert dialog.remote_target == ("sip:alice@192.0.2.66" if moved else "sip:alice@192.0.2.1")


def test_refresh_without_contact_keeps_the_target() -> None:
    dialog = callee()
    dialog.receive_request(make_request("UPDATE", cseq=2, to_tag="b1", contact=""))
    assert dialog.remote_target == "sip:alice@192.0.2.1"


def test_2xx_confirms_and_sets_the_route_anew() -> None:
    dialog, request = caller(180)
    routes = (("Record-Route", "<sip:p9.example.test;lr>"),)
    dialog.receive_response(request, answer(request, 200, routes=routes, contact="<sip:bob@192.0.2.77>"))
    assert dialog.state is DialogState.CONFIRMED
    assert dialog.route_set == ("<sip:p9.example.test;lr>",)
    assert dialog.remote_target == "sip:bob@192.0.2.77"


def test_failure_ends_an_early_dialog() -> None:
    dialog, request = caller(180)
    dialog.receive_response(request, answer(request, 486))
    assert dialog.state is DialogState.TERMINATED


def test_reinvite_moves_the_target_but_not_the_route() -> None:
    dialog, _ = caller()
    reinvite = dialog.create_request("INVITE")
    dialog.receive_response(reinvite, answer(reinvite, 200, routes=(), contact="<sip:bob@192.0.2.78>"))
    assert dialog.remote_target == "sip:bob@192.0.2.78"
    assert dialog.route_set == ("<sip:p1.example.test;lr>", "<sip:p2.example.test;lr>")


def test_failed_reinvite_keeps_the_dialog() -> None:
    dialog, _ = caller()
    reinvite = dialog.create_request("INVITE")
    dialog.receive_response(reinvite, answer(reinvite, 488))
    assert dialog.state is DialogState.CONFIRMED


@pytest.mark.parametrize(("method", "status"), [("INFO", 481), ("INFO", 408), ("BYE", 200), ("BYE", 500)])
def test_responses_that_end_the_dialog(method: str, status: int) -> None:
    dialog, _ = caller()
    request = dialog.create_request(method)
    dialog.receive_response(request, answer(request, status))
    assert dialog.state is DialogState.TERMINATED
    dialog.receive_response(request, answer(request, 200))
    assert dialog.state is DialogState.TERMINATED


def test_100_changes_nothing() -> None:
    dialog, request = caller(180)
    dialog.receive_response(request, answer(request, 100, contact="<sip:bob@192.0.2.80>"))
    assert dialog.state is DialogState.EARLY
    assert dialog.remote_target == "sip:bob@192.0.2.9"


def test_callee_confirms_when_it_answers() -> None:
    dialog = callee(180)
    dialog.confirm()
    assert dialog.state is DialogState.CONFIRMED


def test_a_dialog_that_is_over_stays_so() -> None:
    dialog = callee(180)
    dialog.terminate()
    dialog.confirm()
    assert dialog.state is DialogState.TERMINATED
