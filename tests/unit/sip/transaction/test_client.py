"""Client transactions: every transition of RFC 3261 figures 5 and 6, with RFC 6026's Accepted state."""

from __future__ import annotations

from typing import Any

import pytest

from parley.sip.message import Request, Response, make_response
from parley.sip.transaction import (
    ResponseReceived,
    SendMessage,
    State,
    Terminated,
    TimedOut,
    TransactionError,
    TransportFailed,
    client_key,
    client_transaction,
)


def make_request(method: str = "INVITE") -> Request:
    return Request.create(
        method,
        "sip:bob@192.0.2.9:5060;transport=udp",
        headers=[
            ("Via", "SIP/2.0/UDP proxy.example.test:5060;branch=z9hG4bKclient1;rport"),
            ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKupstream"),
            ("Route", "<sip:hop1.example.test;lr>"),
            ("Route", "<sip:hop2.example.test;lr>"),
            ("Max-Forwards", "69"),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", "<sip:bob@example.test>"),
            ("Call-ID", "call-1"),
            ("CSeq", f"7 {method}"),
            ("Contact", "<sip:alice@192.0.2.1>"),
            ("Content-Length", "0"),
        ],
    )


def answer(request: Request, status: int) -> Response:
    return make_response(request, status, to_tag="b1")


def started(method: str, *, reliable: bool = False, now: float = 100.0) -> Any:
    transaction = client_transaction(make_request(method), reliable=reliable)
    transaction.start(now)
    transaction.events()
    return transaction


def kinds(events: list[Any]) -> list[type]:
    return [type(event) for event in events]


def fire_until(transaction: Any, end: float) -> list[tuple[float, Any]]:
    """Run the timers that are due before ``end`` and collect what they lead to."""
    happened = []
    while transaction.deadline is not None and transaction.deadline <= end:
        now = transaction.deadline
        transaction.handle_timer(now)
        happened += [(now, event) for event in transaction.events()]
    return happened


def test_start_sends_the_request() -> None:
    transaction = client_transaction(make_request(), reliable=False)
    transaction.start(100.0)
    assert transaction.events() == [SendMessage(transaction.request)]
    assert transaction.state is State.CALLING
    assert transaction.events() == []


def test_ack_has_no_transaction() -> None:
    with pytest.raises(TransactionError, match="an ACK has no transaction"):
        client_transaction(make_request("ACK"), reliable=False)


def test_key_is_branch_and_method() -> None:
    request = make_request()
    assert client_key(request) == ("z9hG4bKclient1", "INVITE")
    assert client_key(answer(request, 180)) == client_key(request)


def test_invite_is_retransmitted_with_doubling_intervals_then_times_out() -> None:
    transaction = started("INVITE")
    happened = fire_until(transaction, 1000.0)
    sends = [at for at, event in happened if isinstance(event, SendMessage)]
    assert sends == [100.5, 101.5, 103.5, 107.5, 115.5, 131.5]
    assert happened[-2:] == [(132.0, TimedOut()), (132.0, Terminated())]
    assert transaction.terminated
    assert transaction.deadline is None


def test_invite_over_a_reliable_transport_is_not_retransmitted() -> None:
    happened = fire_until(started("INVITE", reliable=True), 1000.0)
    assert happened == [(132.0, TimedOut()), (132.0, Terminated())]


def test_provisional_stops_retransmissions_and_the_timeout() -> None:
    transaction = started("INVITE")
    response = answer(transaction.request, 180)
    transaction.receive_response(response, 100.3)
    assert transaction.events() == [ResponseReceived(response)]
    assert transaction.state is State.PROCEEDING
    assert transaction.deadline is None


def test_every_provisional_is_passed_on() -> None:
    transaction = started("INVITE")
    for status in (100, 180, 183):
        transaction.receive_response(answer(transaction.request, status), 101.0)
    assert kinds(transaction.events()) == [ResponseReceived] * 3


@pytest.mark.parametrize("provisional", [False, True])
def test_2xx_to_invite_is_accepted_and_its_retransmissions_passed_on(provisional: bool) -> None:
    transaction = started("INVITE")
    if provisional:
        transaction.receive_response(answer(transaction.request, 180), 101.0)
        transaction.events()
    for now in (102.0, 102.5, 103.5):
        transaction.receive_response(answer(transaction.request, 200), now)
        assert kinds(transaction.events()) == [ResponseReceived]
    assert transaction.state is State.ACCEPTED
    assert fire_until(transaction, 1000.0) == [(134.0, Terminated())]


@pytest.mark.parametrize("status", [180, 486])
def test_accepted_absorbs_everything_else(status: int) -> None:
    transaction = started("INVITE")
    transaction.receive_response(answer(transaction.request, 200), 102.0)
    transaction.events()
    transaction.receive_response(answer(transaction.request, status), 103.0)
    assert transaction.events() == []
    assert transaction.state is State.ACCEPTED


def test_failure_is_acknowledged_hop_by_hop() -> None:
    transaction = started("INVITE")
    response = answer(transaction.request, 486)
    transaction.receive_response(response, 101.0)
    passed, sent = transaction.events()
    assert passed == ResponseReceived(response)
    ack = sent.message
    assert ack.method == "ACK"
    assert ack.uri_text == transaction.request.uri_text
    assert ack.get_all("Via") == ["SIP/2.0/UDP proxy.example.test:5060;branch=z9hG4bKclient1;rport"]
    assert ack.values("Route") == ["<sip:hop1.example.test;lr>", "<sip:hop2.example.test;lr>"]
    assert ack.to_tag == "b1"
    assert ack.from_tag == "a1"
    assert ack.call_id == "call-1"
    assert (ack.cseq.number, ack.cseq.method) == (7, "ACK")
    assert transaction.state is State.COMPLETED


def test_completed_repeats_the_ack_and_ends_after_timer_d() -> None:
    transaction = started("INVITE")
    transaction.receive_response(answer(transaction.request, 486), 101.0)
    ack = transaction.events()[1].message
    transaction.receive_response(answer(transaction.request, 486), 101.5)
    assert transaction.events() == [SendMessage(ack, retransmission=True)]
    transaction.receive_response(answer(transaction.request, 180), 101.6)
    transaction.receive_response(answer(transaction.request, 200), 101.7)
    assert transaction.events() == []
    assert fire_until(transaction, 1000.0) == [(133.0, Terminated())]


def test_failure_over_a_reliable_transport_ends_at_once() -> None:
    transaction = started("INVITE", reliable=True)
    transaction.receive_response(answer(transaction.request, 404), 101.0)
    assert kinds(transaction.events()) == [ResponseReceived, SendMessage, Terminated]


def test_cancel_copies_what_names_the_invite() -> None:
    transaction = started("INVITE")
    transaction.receive_response(answer(transaction.request, 180), 101.0)
    cancel = transaction.cancel(110.0, 'SIP ;cause=200 ;text="Call completed elsewhere"')
    assert cancel.method == "CANCEL"
    assert cancel.uri_text == transaction.request.uri_text
    assert cancel.via.branch == "z9hG4bKclient1"
    assert len(cancel.vias) == 1
    assert cancel.to_tag is None
    assert cancel.get("From") == "<sip:alice@example.test>;tag=a1"
    assert (cancel.cseq.number, cancel.cseq.method) == (7, "CANCEL")
    assert cancel.values("Route") == ["<sip:hop1.example.test;lr>", "<sip:hop2.example.test;lr>"]
    assert cancel.get("Reason") == 'SIP ;cause=200 ;text="Call completed elsewhere"'


def test_cancel_carries_no_reason_unless_given() -> None:
    transaction = started("INVITE")
    transaction.receive_response(answer(transaction.request, 180), 101.0)
    assert transaction.cancel(110.0).get("Reason") is None


def test_cancelled_invite_is_given_up_when_nothing_follows() -> None:
    transaction = started("INVITE")
    transaction.receive_response(answer(transaction.request, 180), 101.0)
    first = transaction.cancel(110.0)
    assert transaction.cancel(115.0) is first
    transaction.events()
    assert fire_until(transaction, 1000.0) == [(142.0, TimedOut()), (142.0, Terminated())]


def test_provisional_after_cancel_does_not_prolong_the_wait() -> None:
    transaction = started("INVITE")
    transaction.receive_response(answer(transaction.request, 180), 101.0)
    transaction.cancel(110.0)
    transaction.receive_response(answer(transaction.request, 183), 120.0)
    assert transaction.deadline == 142.0


def test_cancel_needs_a_provisional_response() -> None:
    with pytest.raises(TransactionError, match="an INVITE in state calling cannot be cancelled"):
        started("INVITE").cancel(101.0)


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_transport_failure_ends_the_transaction_once(method: str) -> None:
    transaction = started(method)
    transaction.transport_failed(100.1)
    transaction.transport_failed(100.2)
    assert transaction.events() == [TransportFailed(), Terminated()]
    transaction.receive_response(answer(transaction.request, 200), 101.0)
    assert transaction.events() == []


def test_abandon_tells_only_the_end() -> None:
    transaction = started("INVITE")
    transaction.abandon()
    assert transaction.events() == [Terminated()]


def test_non_invite_is_retransmitted_up_to_t2_then_times_out() -> None:
    happened = fire_until(started("OPTIONS"), 1000.0)
    sends = [at for at, event in happened if isinstance(event, SendMessage)]
    assert sends == [100.5, 101.5, 103.5, 107.5, 111.5, 115.5, 119.5, 123.5, 127.5, 131.5]
    assert happened[-2:] == [(132.0, TimedOut()), (132.0, Terminated())]


def test_non_invite_over_a_reliable_transport_waits_only() -> None:
    assert fire_until(started("MESSAGE", reliable=True), 1000.0) == [
        (132.0, TimedOut()),
        (132.0, Terminated()),
    ]


def test_non_invite_provisional_slows_retransmissions_to_t2() -> None:
    transaction = started("OPTIONS")
    transaction.receive_response(answer(transaction.request, 100), 100.2)
    assert kinds(transaction.events()) == [ResponseReceived]
    assert transaction.state is State.PROCEEDING
    sends = [at for at, event in fire_until(transaction, 120.0) if isinstance(event, SendMessage)]
    assert sends == [100.5, 104.5, 108.5, 112.5, 116.5]


@pytest.mark.parametrize("status", [200, 302, 404, 503, 603])
@pytest.mark.parametrize("provisional", [False, True])
def test_non_invite_final_is_passed_once_and_absorbed_for_timer_k(status: int, provisional: bool) -> None:
    transaction = started("OPTIONS")
    if provisional:
        transaction.receive_response(answer(transaction.request, 100), 100.5)
        transaction.events()
    response = answer(transaction.request, status)
    transaction.receive_response(response, 101.0)
    transaction.receive_response(answer(transaction.request, status), 102.0)
    assert transaction.events() == [ResponseReceived(response)]
    assert transaction.state is State.COMPLETED
    assert fire_until(transaction, 1000.0) == [(106.0, Terminated())]


def test_non_invite_final_over_a_reliable_transport_ends_at_once() -> None:
    transaction = started("BYE", reliable=True)
    transaction.receive_response(answer(transaction.request, 200), 101.0)
    assert kinds(transaction.events()) == [ResponseReceived, Terminated]


def test_timer_called_early_does_nothing() -> None:
    transaction = started("INVITE")
    transaction.handle_timer(100.4)
    assert transaction.events() == []
    assert transaction.deadline == 100.5
