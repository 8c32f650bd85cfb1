"""The transaction table and its keys: matching by RFC 3261 and RFC 2543, deadlines, the limit."""

from __future__ import annotations

import pytest

from parley.sip.message import Request, make_response
from parley.sip.transaction import (
    DeadlineHeap,
    SendMessage,
    State,
    TransactionError,
    TransactionTable,
    cancelled_key,
    client_transaction,
    server_key,
    server_transaction,
)

OLD_VIA = "SIP/2.0/tls 127.0.0.1:47928"


def make_request(
    method: str = "INVITE",
    via: str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx1",
    *,
    call_id: str = "call-1",
    cseq: int = 1,
    to: str = "<sip:bob@example.test>",
    uri: str = "sip:bob@example.test",
) -> Request:
    return Request.create(
        method,
        uri,
        headers=[
            ("Via", via),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", to),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Content-Length", "0"),
        ],
    )


def test_retransmission_has_the_same_key_even_with_received_added() -> None:
    second = make_request(via="SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx1;received=198.51.100.7;rport=4711")
    assert server_key(make_request(), 1) == server_key(second, 1)


@pytest.mark.parametrize(
    "other",
    [
        "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx2",
        "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKx1",
        "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKx1",
    ],
)
def test_branch_and_sent_by_tell_transactions_apart(other: str) -> None:
    assert server_key(make_request(), 1) != server_key(make_request(via=other), 1)


@pytest.mark.parametrize("via", ["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx1", OLD_VIA])
def test_the_flow_tells_clients_apart_that_send_the_same(via: str) -> None:
    assert server_key(make_request(via=via), "flow-1") != server_key(make_request(via=via), "flow-2")


@pytest.mark.parametrize("via", ["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx1", OLD_VIA])
def test_ack_and_cancel_lead_to_the_invite(via: str) -> None:
    key = server_key(make_request(via=via), 1)
    assert server_key(make_request("ACK", via, to="<sip:bob@example.test>;tag=b1"), 1) == key
    cancel = make_request("CANCEL", via)
    assert cancelled_key(cancel, 1) == key
    assert server_key(cancel, 1) != key


@pytest.mark.parametrize("branch", ["", ";branch=1", ";branch=z9hG4bK"])
def test_requests_without_a_real_branch_are_told_apart_by_their_headers(branch: str) -> None:
    via = OLD_VIA + branch
    key = server_key(make_request("INFO", via), 1)
    assert server_key(make_request("INFO", via), 1) == key
    assert server_key(make_request("INFO", via, cseq=2), 1) != key
    assert server_key(make_request("INFO", via, call_id="call-2"), 1) != key
    assert server_key(make_request("INFO", via, uri="sip:carol@example.test"), 1) != key
    assert server_key(make_request("BYE", via), 1) != key


def test_table_finds_servers_by_request_and_flow() -> None:
    table = TransactionTable()
    transaction = server_transaction(make_request(), "flow-1", 10.0, reliable=False)
    assert table.add(transaction)
    assert table.find_server(make_request(), "flow-1") is transaction
    assert table.find_server(make_request(), "flow-2") is None
    assert table.find_server(make_request("ACK"), "flow-1") is transaction
    assert table.find_cancelled(make_request("CANCEL"), "flow-1") is transaction
    assert table.find_cancelled(make_request("CANCEL"), "flow-2") is None
    assert (table.servers, table.clients, len(table)) == (1, 0, 1)


def test_cancel_finds_no_other_method() -> None:
    table = TransactionTable()
    table.add(server_transaction(make_request("MESSAGE"), "flow-1", 10.0, reliable=False))
    assert table.find_cancelled(make_request("CANCEL"), "flow-1") is None


def test_table_finds_clients_by_response() -> None:
    table = TransactionTable()
    request = make_request()
    transaction = client_transaction(request, reliable=True)
    transaction.start(10.0)
    assert table.add(transaction)
    assert table.find_client(make_response(request, 180)) is transaction
    other = make_request(via="SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKother")
    assert table.find_client(make_response(other, 180)) is None


def test_taken_keys_are_refused() -> None:
    table = TransactionTable()
    table.add(server_transaction(make_request(), 1, 10.0, reliable=False))
    with pytest.raises(TransactionError, match="exists already"):
        table.add(server_transaction(make_request(), 1, 10.0, reliable=False))
    table.add(client_transaction(make_request(), reliable=False))
    with pytest.raises(TransactionError, match="exists already"):
        table.add(client_transaction(make_request(), reliable=False))


def test_limit_refuses_and_counts() -> None:
    table = TransactionTable(limit=1)
    assert table.add(server_transaction(make_request(), 1, 10.0, reliable=False))
    assert not table.add(server_transaction(make_request(), 2, 10.0, reliable=False))
    assert not table.add(client_transaction(make_request(), reliable=False))
    assert table.refused == 2
    assert len(table) == 1


def test_terminated_transactions_are_forgotten() -> None:
    table = TransactionTable()
    server = server_transaction(make_request("MESSAGE"), 1, 10.0, reliable=True)
    client = client_transaction(make_request("MESSAGE"), reliable=True)
    client.start(10.0)
    table.add(server)
    table.add(client)
    response = make_response(server.request, 200, to_tag="b1")
    client.receive_response(response, 10.1)
    table.update(client)
    server.send_response(response, 10.1)
    table.update(server)
    assert len(table) == 0
    assert table.find_server(server.request, 1) is None
    assert table.find_client(response) is None
    assert table.next_deadline() is None


def test_expire_runs_due_timers_and_reschedules() -> None:
    table = TransactionTable()
    client = client_transaction(make_request("MESSAGE"), reliable=False)
    client.start(10.0)
    client.events()
    table.add(client)
    assert table.next_deadline() == 10.5
    assert table.expire(10.4) == []
    assert table.expire(10.5) == [client]
    assert client.events() == [SendMessage(client.request, retransmission=True)]
    assert table.next_deadline() == 11.5


def test_expire_forgets_what_ends() -> None:
    table = TransactionTable()
    client = client_transaction(make_request("MESSAGE"), reliable=True)
    client.start(10.0)
    table.add(client)
    assert table.expire(42.0) == [client]
    assert client.state is State.TERMINATED
    assert len(table) == 0
    assert table.expire(1000.0) == []


def test_heap_returns_items_in_order_of_their_latest_deadline() -> None:
    heap: DeadlineHeap[str] = DeadlineHeap()
    first, second, third = heap.add("first", 1.0), heap.add("second", 2.0), heap.add("third", 3.0)
    heap.reschedule(first, 5.0)
    heap.reschedule(third, 0.5)
    heap.reschedule(second, None)
    assert heap.next_deadline() == 0.5
    assert heap.pop_due(10.0) == ["third", "first"]
    assert heap.next_deadline() is None
    assert len(heap) == 3


def test_heap_keeps_a_popped_item_until_removed() -> None:
    heap: DeadlineHeap[str] = DeadlineHeap()
    item = heap.add("item", 1.0)
    assert heap.pop_due(1.0) == ["item"]
    heap.reschedule(item, 2.0)
    assert heap.pop_due(1.5) == []
    assert heap.pop_due(2.0) == ["item"]
    heap.remove(item)
    heap.remove(item)
    heap.reschedule(item, 3.0)
    assert heap.next_deadline() is None
    assert len(heap) == 0


def test_proceeding_are_those_with_provisional_responses_alone() -> None:
    table = TransactionTable()
    made = [client_transaction(make_request(via=f"SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK{n}"), reliable=True) for n in "abc"]
    for transaction in made:
        assert table.add(transaction)
        transaction.start(0.0)
    assert table.proceeding() == []
    for transaction, status in zip(made, (100, 180, 486), strict=True):
        transaction.receive_response(make_response(transaction.request, status), 0.1)
    assert table.proceeding() == made[:2]
    made[1].receive_response(make_response(made[1].request, 200), 0.2)
    assert table.proceeding() == made[:1]


def test_heap_does_not_grow_with_removed_items() -> None:
    heap: DeadlineHeap[int] = DeadlineHeap()
    keep = heap.add(-1, 1e9)
    for number in range(20_000):
        heap.remove(heap.add(number, 1000.0 + number))
    assert len(heap._heap) < 3000
    assert heap.next_deadline() == 1e9
    assert heap.pop_due(1e9) == [-1]
    heap.remove(keep)


def test_heap_does_not_grow_with_rescheduling() -> None:
    heap: DeadlineHeap[int] = DeadlineHeap()
    item = heap.add(0, 1.0)
    for step in range(20_000):
        heap.reschedule(item, 2.0 + step)
    assert len(heap._heap) == 1
    assert heap.next_deadline() == 20_001.0
