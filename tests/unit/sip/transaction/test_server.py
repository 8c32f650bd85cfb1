"""Server transactions: every transition of RFC 3261 figures 7 and 8, with RFC 6026's Accepted state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parley.sip.message import Request, Response, make_response
from parley.sip.transaction import (
    DEFAULT_TIMERS,
    AckReceived,
    Cancelled,
    SendMessage,
    State,
    Terminated,
    TimedOut,
    TransactionError,
    TransportFailed,
    server_transaction,
)

RFC3261_VIA = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKserver1"
RFC2543_VIA = "SIP/2.0/TLS 192.0.2.1:47928"


def make_request(method: str = "INVITE", via: str = RFC3261_VIA, to_tag: str = "") -> Request:
    tag = f";tag={to_tag}" if to_tag else ""
    return Request.create(
        method,
        "sip:bob@example.test",
        headers=[
            ("Via", via),
            ("Max-Forwards", "70"),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", f"<sip:bob@example.test>{tag}"),
            ("Call-ID", "call-1"),
            ("CSeq", f"7 {method}"),
            ("Content-Length", "0"),
        ],
    )


def make_server(method: str = "INVITE", *, reliable: bool = False, via: str = RFC3261_VIA) -> Any:
    return server_transaction(make_request(method, via), "flow-1", 100.0, reliable=reliable)


def answer(transaction: Any, status: int) -> Response:
    return make_response(transaction.request, status, to_tag="b1")


def fire_until(transaction: Any, end: float) -> list[tuple[float, Any]]:
    happened = []
    while transaction.deadline is not None and transaction.deadline <= end:
        now = transaction.deadline
        transaction.handle_timer(now)
        happened += [(now, event) for event in transaction.events()]
    return happened


def test_invite_gets_100_after_200_ms() -> None:
    transaction = make_server()
    assert transaction.events() == []
    [(at, event)] = fire_until(transaction, 500.0)
    assert at == 100.2
    assert event.message.status == 100
    assert transaction.deadline is None


def test_invite_answered_in_time_gets_no_100() -> None:
    transaction = make_server()
    transaction.send_response(answer(transaction, 180), 100.1)
    transaction.events()
    assert fire_until(transaction, 500.0) == []


def test_100_at_once_when_asked_for() -> None:
    timers = replace(DEFAULT_TIMERS, trying_after=0.0)
    transaction = server_transaction(make_request(), "flow-1", 100.0, reliable=False, timers=timers)
    event: Any = transaction.events()[0]
    assert event.message.status == 100
    assert transaction.deadline is None


def test_100_left_to_the_user() -> None:
    timers = replace(DEFAULT_TIMERS, trying_after=None)
    transaction = server_transaction(make_request(), "flow-1", 100.0, reliable=False, timers=timers)
    assert transaction.deadline is None


def test_retransmitted_invite_without_response_is_absorbed() -> None:
    transaction = make_server()
    transaction.receive_request(make_request(), 100.1)
    assert transaction.events() == []


def test_retransmitted_invite_is_answered_with_the_last_provisional() -> None:
    transaction = make_server()
    transaction.send_response(answer(transaction, 180), 100.1)
    ringing = answer(transaction, 183)
    transaction.send_response(ringing, 100.2)
    transaction.events()
    transaction.receive_request(make_request(), 100.5)
    assert transaction.events() == [SendMessage(ringing, retransmission=True)]


def test_2xx_leads_to_accepted_for_timer_l() -> None:
    transaction = make_server()
    response = answer(transaction, 200)
    transaction.send_response(response, 101.0)
    assert transaction.events() == [SendMessage(response)]
    assert transaction.state is State.ACCEPTED
    assert transaction.answered
    assert fire_until(transaction, 1000.0) == [(133.0, Terminated())]


def test_accepted_absorbs_invites_and_passes_further_2xx() -> None:
    transaction = make_server()
    transaction.send_response(answer(transaction, 200), 101.0)
    transaction.events()
    transaction.receive_request(make_request(), 101.5)
    transaction.send_response(answer(transaction, 486), 101.6)
    transaction.send_response(answer(transaction, 180), 101.7)
    assert transaction.events() == []
    second = make_response(transaction.request, 200, to_tag="c1")
    transaction.send_response(second, 102.0)
    assert transaction.events() == [SendMessage(second)]


def test_ack_for_2xx_without_branch_goes_end_to_end() -> None:
    transaction = make_server(via=RFC2543_VIA, reliable=True)
    transaction.send_response(answer(transaction, 200), 101.0)
    transaction.events()
    ack = make_request("ACK", RFC2543_VIA, to_tag="b1")
    transaction.receive_request(ack, 101.2)
    assert transaction.events() == [AckReceived(ack, end_to_end=True)]
    assert transaction.state is State.ACCEPTED


def test_failure_is_retransmitted_until_timer_h() -> None:
    transaction = make_server()
    transaction.send_response(answer(transaction, 486), 101.0)
    transaction.events()
    assert transaction.state is State.COMPLETED
    happened = fire_until(transaction, 1000.0)
    sends = [at for at, event in happened if isinstance(event, SendMessage)]
    assert sends == [101.5, 102.5, 104.5, 108.5, 112.5, 116.5, 120.5, 124.5, 128.5, 132.5]
    assert happened[-2:] == [(133.0, TimedOut()), (133.0, Terminated())]


def test_failure_over_a_reliable_transport_waits_for_the_ack_only() -> None:
    transaction = make_server(reliable=True)
    transaction.send_response(answer(transaction, 486), 101.0)
    transaction.events()
    assert fire_until(transaction, 1000.0) == [(133.0, TimedOut()), (133.0, Terminated())]


def test_completed_answers_a_retransmitted_invite() -> None:
    transaction = make_server()
    response = answer(transaction, 486)
    transaction.send_response(response, 101.0)
    transaction.events()
    transaction.receive_request(make_request(), 101.2)
    transaction.send_response(answer(transaction, 200), 101.3)
    assert transaction.events() == [SendMessage(response, retransmission=True)]


def test_ack_confirms_a_failure_and_timer_i_ends_it() -> None:
    transaction = make_server()
    transaction.send_response(answer(transaction, 486), 101.0)
    transaction.events()
    ack = make_request("ACK", to_tag="b1")
    transaction.receive_request(ack, 101.2)
    assert transaction.events() == [AckReceived(ack, end_to_end=False)]
    assert transaction.state is State.CONFIRMED
    transaction.receive_request(ack, 101.3)
    transaction.receive_request(make_request(), 101.4)
    assert transaction.events() == []
    assert fire_until(transaction, 1000.0) == [(106.2, Terminated())]


def test_ack_over_a_reliable_transport_ends_at_once() -> None:
    transaction = make_server(reliable=True)
    transaction.send_response(answer(transaction, 486), 101.0)
    transaction.events()
    ack = make_request("ACK", to_tag="b1")
    transaction.receive_request(ack, 101.2)
    assert transaction.events() == [AckReceived(ack, end_to_end=False), Terminated()]


def test_ack_of_an_old_client_must_carry_the_tag_of_the_response() -> None:
    transaction = make_server(via=RFC2543_VIA)
    transaction.send_response(answer(transaction, 486), 101.0)
    transaction.events()
    transaction.receive_request(make_request("ACK", RFC2543_VIA, to_tag="other"), 101.2)
    assert transaction.events() == []
    transaction.receive_request(make_request("ACK", RFC2543_VIA, to_tag="b1"), 101.3)
    assert transaction.state is State.CONFIRMED


def test_ack_before_any_final_response_is_ignored() -> None:
    transaction = make_server()
    transaction.receive_request(make_request("ACK"), 100.1)
    assert transaction.events() == []
    assert transaction.state is State.PROCEEDING


def test_cancel_is_told_once() -> None:
    transaction = make_server()
    cancel = make_request("CANCEL")
    assert transaction.receive_cancel(cancel, 101.0)
    assert not transaction.receive_cancel(cancel, 101.1)
    assert transaction.events() == [Cancelled(cancel)]
    assert transaction.state is State.PROCEEDING


@pytest.mark.parametrize("status", [200, 486])
def test_cancel_after_a_final_response_changes_nothing(status: int) -> None:
    transaction = make_server()
    transaction.send_response(answer(transaction, status), 101.0)
    transaction.events()
    assert not transaction.receive_cancel(make_request("CANCEL"), 101.1)
    assert transaction.events() == []


def test_invite_survives_a_send_error() -> None:
    transaction = make_server()
    transaction.send_response(answer(transaction, 486), 101.0)
    transaction.events()
    transaction.transport_failed(101.0)
    assert transaction.events() == [TransportFailed()]
    assert transaction.state is State.COMPLETED


def test_non_invite_ends_by_a_send_error() -> None:
    transaction = make_server("MESSAGE")
    transaction.send_response(answer(transaction, 200), 101.0)
    transaction.events()
    transaction.transport_failed(101.0)
    assert transaction.events() == [TransportFailed(), Terminated()]


def test_non_invite_trying_absorbs_retransmissions_and_waits_for_ever() -> None:
    transaction = make_server("MESSAGE")
    transaction.receive_request(make_request("MESSAGE"), 100.5)
    assert transaction.events() == []
    assert transaction.state is State.TRYING
    assert transaction.deadline is None


def test_non_invite_provisional_is_repeated_for_retransmissions() -> None:
    transaction = make_server("MESSAGE")
    response = answer(transaction, 100)
    transaction.send_response(response, 103.0)
    transaction.receive_request(make_request("MESSAGE"), 103.5)
    assert transaction.events() == [SendMessage(response), SendMessage(response, retransmission=True)]
    assert transaction.state is State.PROCEEDING


@pytest.mark.parametrize("status", [200, 302, 404, 503, 603])
def test_non_invite_final_is_repeated_until_timer_j(status: int) -> None:
    transaction = make_server("MESSAGE")
    response = answer(transaction, status)
    transaction.send_response(response, 101.0)
    transaction.receive_request(make_request("MESSAGE"), 101.5)
    transaction.send_response(answer(transaction, 500), 101.6)
    assert transaction.events() == [SendMessage(response), SendMessage(response, retransmission=True)]
    assert transaction.state is State.COMPLETED
    assert fire_until(transaction, 1000.0) == [(133.0, Terminated())]


def test_non_invite_final_over_a_reliable_transport_ends_at_once() -> None:
    transaction = make_server("MESSAGE", reliable=True)
    response = answer(transaction, 200)
    transaction.send_response(response, 101.0)
    assert transaction.events() == [SendMessage(response), Terminated()]
    transaction.send_response(answer(transaction, 500), 101.6)
    transaction.receive_request(make_request("MESSAGE"), 101.7)
    assert transaction.events() == []


def test_ack_makes_no_transaction() -> None:
    with pytest.raises(TransactionError, match="an ACK makes no transaction"):
        make_server("ACK")
