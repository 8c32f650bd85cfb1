"""Transactions and a forking context together, driven as a front end drives them, without a network.

``Shell`` is the smallest complete driver: the events of each machine become the inputs of
the others.
"""

from __future__ import annotations

from parley.sip.message import Request, Response, make_response, parse_message
from parley.sip.proxy import (
    AbandonedAnswer,
    CancelBranch,
    ForkingContext,
    ForkSettings,
    ForwardResponse,
    OutgoingVia,
    StartBranch,
    Target,
    make_ack,
    make_bye,
    prepare_request,
)
from parley.sip.transaction import (
    AckReceived,
    Cancelled,
    ClientTransaction,
    InviteClientTransaction,
    ResponseReceived,
    SendMessage,
    ServerTransaction,
    TimedOut,
    Transaction,
    TransactionTable,
    client_transaction,
    server_transaction,
)

TO_CALLER = "caller"


class Shell:
    """Drives one table; what would go to the network is collected in ``sent`` as (peer, message)."""

    def __init__(self, targets: list[list[Target]], **settings: bool) -> None:
        self.targets = targets
        self.settings = settings
        self.table = TransactionTable()
        self.sent: list[tuple[str, Request | Response]] = []
        self.now = 100.0
        self.branches: dict[tuple[ForkingContext, int], ClientTransaction] = {}
        self.servers: dict[ForkingContext, ServerTransaction] = {}
        self.peers: dict[Transaction, str] = {}
        self.contexts: dict[Transaction, tuple[ForkingContext, int]] = {}
        self.count = 0

    # Inputs

    def receive(self, message: Request | Response) -> None:
        """A message arrived; it goes over the wire first."""
        parsed = parse_message(bytes(message))
        if isinstance(parsed, Response):
            client = self.table.find_client(parsed)
            if client is not None:
                client.receive_response(parsed, self.now)
                self.run(client)
            return
        known = self.table.find_server(parsed, TO_CALLER)
        if known is not None:
            known.receive_request(parsed, self.now)
            self.run(known)
        elif parsed.method == "CANCEL":
            self.cancel(parsed)
        elif parsed.method == "INVITE":
            self.invite(parsed)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.table.next_deadline()) is not None and at <= end:
            self.now = at
            for transaction in self.table.expire(at):
                self.run(transaction)
        self.now = end

    # The proxy

    def invite(self, request: Request) -> None:
        server = server_transaction(request, TO_CALLER, self.now, reliable=True)
        assert self.table.add(server)
        context = ForkingContext(request, self.targets, settings=ForkSettings(**self.settings))
        server.owner = context
        self.servers[context] = server
        self.run(server)
        context.start(self.now)
        self.fork(context)

    def cancel(self, cancel: Request) -> None:
        server = server_transaction(cancel, TO_CALLER, self.now, reliable=True)
        assert self.table.add(server)
        invite = self.table.find_cancelled(cancel, TO_CALLER)
        server.send_response(make_response(cancel, 200 if invite else 481, to_tag="proxy"), self.now)
        self.run(server)
        if invite is not None:
            invite.receive_cancel(cancel, self.now)
            self.run(invite)

    def run(self, transaction: Transaction) -> None:
        """Drain a transaction after any input, then take note of its deadline."""
        owner = transaction.owner
        for event in transaction.events():
            if isinstance(event, SendMessage):
                self.sent.append((self.peers.get(transaction, TO_CALLER), event.message))
            elif isinstance(event, Cancelled) and isinstance(owner, ForkingContext):
                owner.cancel(self.now, event.request.get("Reason"))
                self.fork(owner)
            elif isinstance(event, AckReceived) and event.end_to_end:
                self.sent.append(("routed", event.request))
            elif isinstance(event, ResponseReceived | TimedOut) and transaction in self.contexts:
                context, branch_id = self.contexts[transaction]
                if isinstance(event, ResponseReceived):
                    context.receive(branch_id, event.response, self.now)
                else:
                    context.branch_failed(branch_id, 408, self.now)
                self.fork(context)
        self.table.update(transaction)

    def fork(self, context: ForkingContext) -> None:
        """Drain a context after any input."""
        while events := context.events():
            for event in events:
                if isinstance(event, StartBranch):
                    prepared = prepare_request(context.request, via=self.via(), uri=event.target.uri)
                    client = self.start_client(prepared.request, prepared.next_hop.host)
                    self.contexts[client] = (context, event.branch_id)
                    self.branches[context, event.branch_id] = client
                elif isinstance(event, CancelBranch):
                    branch = self.branches[context, event.branch_id]
                    assert isinstance(branch, InviteClientTransaction)
                    cancel = branch.cancel(self.now, event.reason)
                    self.table.update(branch)
                    self.start_client(cancel, self.peers[branch])
                elif isinstance(event, ForwardResponse):
                    server = self.servers[context]
                    server.send_response(event.response, self.now)
                    self.run(server)
                elif isinstance(event, AbandonedAnswer):
                    branch = self.branches[context, event.branch_id]
                    ack = make_ack(branch.request, event.response, via=str(self.via()))
                    self.sent.append((ack.next_hop.host, ack.request))
                    if not event.retransmission:
                        bye = make_bye(branch.request, event.response, via=str(self.via()))
                        self.start_client(bye.request, bye.next_hop.host)

    def start_client(self, request: Request, peer: str) -> ClientTransaction:
        client = client_transaction(request, reliable=True)
        self.peers[client] = peer
        assert self.table.add(client)
        client.start(self.now)
        self.run(client)
        return client

    def via(self) -> OutgoingVia:
        self.count += 1
        return OutgoingVia("TLS", "proxy.example.test", f"z9hG4bKb{self.count}")

    # What was sent

    def take(self) -> list[tuple[str, str]]:
        """What was sent since the last time, in short: peer and method or status."""
        short = [
            (peer, message.method if isinstance(message, Request) else str(message.status)) for peer, message in self.sent
        ]
        self.last = [message for _, message in self.sent]
        self.sent.clear()
        return short

    def request_to(self, peer: str, method: str) -> Request:
        for message in self.last:
            if isinstance(message, Request) and message.method == method and peer in message.uri_text:
                return message
        raise AssertionError(f"no {method} went to {peer}")


def from_caller(method: str, via: str = "SIP/2.0/TLS 192.0.2.1:47928") -> Request:
    """A request of the caller; it has no branch, as OCS clients send it."""
    return Request.create(
        method,
        "sip:bob@example.test",
        headers=[
            ("Via", via),
            ("Max-Forwards", "70"),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", "<sip:bob@example.test>"),
            ("Call-ID", "call-1"),
            ("CSeq", f"1 {method}"),
        ],
    )


def phones(number: int) -> list[list[Target]]:
    return [[Target(f"sip:bob@phone{index}") for index in range(number)]]


def reply(request: Request, status: int, tag: str) -> Response:
    headers = (("Contact", f"<{request.uri_text}>"),) if status == 200 else ()
    return make_response(request, status, to_tag=tag, headers=headers)


def test_three_phones_ring_one_answers() -> None:
    shell = Shell(phones(3))
    shell.receive(from_caller("INVITE"))
    assert shell.take() == [("phone0", "INVITE"), ("phone1", "INVITE"), ("phone2", "INVITE")]
    invites = [shell.request_to(f"phone{index}", "INVITE") for index in range(3)]
    shell.pass_time(0.3)
    assert shell.take() == [(TO_CALLER, "100")]
    for index, invite in enumerate(invites):
        shell.receive(reply(invite, 180, f"t{index}"))
    assert shell.take() == [(TO_CALLER, "180")] * 3
    shell.receive(reply(invites[1], 200, "t1"))
    assert shell.take() == [(TO_CALLER, "200"), ("phone0", "CANCEL"), ("phone2", "CANCEL")]
    for index in (0, 2):
        cancel = shell.request_to(f"phone{index}", "CANCEL")
        assert "Call completed elsewhere" in (cancel.get("Reason") or "")
        shell.receive(reply(cancel, 200, f"t{index}"))
        shell.receive(reply(invites[index], 487, f"t{index}"))
    assert shell.take() == [("phone0", "ACK"), ("phone2", "ACK")]
    shell.pass_time(60.0)
    assert shell.take() == []
    assert len(shell.table) == 0


def test_busy_is_acknowledged_on_both_sides() -> None:
    shell = Shell(phones(1))
    shell.receive(from_caller("INVITE"))
    shell.take()
    shell.receive(reply(shell.request_to("phone0", "INVITE"), 486, "t0"))
    assert shell.take() == [(TO_CALLER, "486"), ("phone0", "ACK")]
    ack = from_caller("ACK")
    ack.set("To", "<sip:bob@example.test>;tag=t0")
    shell.receive(ack)
    assert shell.take() == []
    assert len(shell.table) == 0


def test_caller_hangs_up_while_it_rings() -> None:
    shell = Shell(phones(1))
    shell.receive(from_caller("INVITE"))
    shell.take()
    invite = shell.request_to("phone0", "INVITE")
    shell.receive(reply(invite, 180, "t0"))
    shell.take()
    shell.receive(from_caller("CANCEL"))
    assert shell.take() == [(TO_CALLER, "200"), ("phone0", "CANCEL")]
    shell.receive(reply(invite, 487, "t0"))
    assert shell.take() == [(TO_CALLER, "487"), ("phone0", "ACK")]


def test_cancel_for_nothing_is_481() -> None:
    shell = Shell(phones(1))
    shell.receive(from_caller("CANCEL"))
    assert shell.take() == [(TO_CALLER, "481")]
    assert len(shell.table) == 0


def test_silent_phone_times_out() -> None:
    shell = Shell(phones(1))
    shell.receive(from_caller("INVITE"))
    shell.take()
    shell.pass_time(40.0)
    assert shell.take() == [(TO_CALLER, "100"), (TO_CALLER, "408")]


def test_phone_that_ignores_cancel_and_answers_is_hung_up() -> None:
    shell = Shell(phones(1), absorb_late_answers=True)
    shell.receive(from_caller("INVITE"))
    shell.take()
    invite = shell.request_to("phone0", "INVITE")
    shell.receive(reply(invite, 180, "t0"))
    shell.receive(from_caller("CANCEL"))
    shell.take()
    shell.receive(reply(invite, 200, "t0"))
    assert shell.take() == [("phone0", "ACK"), ("phone0", "BYE"), (TO_CALLER, "487")]
    shell.receive(reply(invite, 200, "t0"))
    assert shell.take() == [("phone0", "ACK")]


def test_ack_for_2xx_without_branch_is_routed() -> None:
    shell = Shell(phones(1))
    shell.receive(from_caller("INVITE"))
    shell.take()
    shell.receive(reply(shell.request_to("phone0", "INVITE"), 200, "t0"))
    assert shell.take() == [(TO_CALLER, "200")]
    shell.receive(from_caller("ACK"))
    assert shell.take() == [("routed", "ACK")]
