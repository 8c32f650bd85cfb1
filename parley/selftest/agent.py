"""A SIP user agent without I/O (RFC 3261 sections 8, 13 and 17): messages and the time go in, messages and events come out.

One agent is one user on one connection to one server, which it sends everything to (an outbound proxy). It answers
challenges by itself, and sends again over UDP what has to be: its requests, a 2xx to an INVITE until the ACK comes, and the
ACK for a 2xx that comes again. All else, dialogs and what requests are answered, is its user's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from secrets import token_hex
from typing import Final

from parley.selftest.authorization import authorize
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, make_response
from parley.sip.params import Params
from parley.sip.transaction import (
    DEFAULT_TIMERS,
    AckReceived,
    ClientTransaction,
    ResponseReceived,
    SendMessage,
    TimedOut,
    Timers,
    Transaction,
    TransactionTable,
    client_transaction,
    server_transaction,
)
from parley.sip.via import Via

_FLOW: Final = "flow"
"""All comes and goes over one connection."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the agent is."""

    address: str
    """"user@domain"."""
    password: str

    @property
    def user(self) -> str:
        """The part before the domain, which is the name to sign in with."""
        return self.address.partition("@")[0]

    @property
    def domain(self) -> str:
        """The SIP domain."""
        return self.address.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Answered:
    """A response to a request of ours; a challenge that was answered is not told of."""

    number: int
    """What `UserAgent.begin` gave."""
    request: Request
    """As it was sent last, with credentials."""
    response: Response


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request of ours got no final response."""

    number: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request came that is not a repetition. An ACK is told of once; it takes no answer."""

    request: Request


AgentEvent = Answered | Unanswered | Asked
"""What a user is told."""


@dataclass(slots=True)
class _Repeated:
    """A 2xx that is sent until its ACK comes (RFC 3261 section 13.3.1.4)."""

    data: bytes
    due: float
    interval: float
    until: float


class UserAgent:
    """One user on one connection."""

    def __init__(
        self, identity: Identity, transport: str, local: tuple[str, int], *, timers: Timers = DEFAULT_TIMERS
    ) -> None:
        """``transport``: "UDP", "TCP" or "TLS"; ``local``: our end of the connection."""
        self.identity = identity
        self.transport = transport
        self._timers = timers
        self._reliable = transport != "UDP"
        self.host = local[0]
        """Our address."""
        self._host = f"[{self.host}]" if ":" in self.host else self.host
        self._port = local[1]
        self._table = TransactionTable()
        self._numbers: dict[int, int] = {}
        """Numbers of requests by the table's id of their transaction."""
        self._challenged: set[int] = set()
        self._acks: dict[int, bytes] = {}
        self._repeated: dict[tuple[str, int], _Repeated] = {}
        self._outgoing: list[bytes] = []
        self._events: list[AgentEvent] = []
        self._last = 0
        self._sequence = 0

    @property
    def contact(self) -> str:
        """Our contact URI; the server reaches it over the connection alone."""
        return f"sip:{self.identity.user}@{self._host}:{self._port};transport={self.transport.lower()}"

    @property
    def deadline(self) -> float:
        """When `expire` is due (monotonic seconds); infinity when never."""
        repeated = min((item.due for item in self._repeated.values()), default=inf)
        return min(repeated, self._table.next_deadline() or inf)

    def take_outgoing(self) -> list[bytes]:
        """What is to be sent, in order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def take_events(self) -> list[AgentEvent]:
        """What happened, in order."""
        events, self._events = self._events, []
        return events

    def request(
        self, method: str, uri: str, *, to: str = "", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Request:
        """A request outside of any dialog; ``to``: the URI in To, by default that of the request. Via comes with `begin`."""
        self._sequence += 1
        fields = [
            ("Max-Forwards", "70"),
            ("From", f"<sip:{self.identity.address}>;tag={token_hex(5)}"),
            ("To", f"<{to or uri}>"),
            ("Call-ID", f"selftest-{token_hex(10)}"),
            ("CSeq", f"{self._sequence} {method}"),
            *headers,
        ]
        if method in ("INVITE", "SUBSCRIBE"):
            fields.append(("Contact", f"<{self.contact}>"))
        return Request.create(method, uri, headers=fields, body=body)

    def begin(self, request: Request, now: float) -> int:
        """Sends a request; the number by which its responses are told of."""
        self._last += 1
        self._send_request(request, self._last, now)
        return self._last

    def acknowledge(self, number: int, ack: Request) -> None:
        """Sends the ACK for the 2xx to an INVITE, made by its dialog, and again whenever that 2xx comes again."""
        ack.prepend("Via", str(self._via()))
        self._acks[number] = bytes(ack)
        self._outgoing.append(bytes(ack))

    def answer(
        self, request: Request, status: int, now: float, *, to_tag: str = "", headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response:  # fmt: skip
        """Answers a request that `Asked` told of; nothing is sent when it has been answered, or is over."""
        extra = list(headers)
        forms_dialog = 100 < status < 300 and request.method == "INVITE"
        if forms_dialog:
            extra.append(("Contact", f"<{self.contact}>"))
        response = make_response(
            request, status, to_tag=to_tag or token_hex(5), headers=extra, body=body, record_route=forms_dialog
        )
        transaction = self._table.find_server(request, _FLOW)
        if transaction is not None:
            transaction.send_response(response, now)
            self._drain(transaction, now)
            if forms_dialog and status >= 200 and not self._reliable:
                t1 = self._timers.t1
                key = (request.call_id, request.cseq.number)
                self._repeated[key] = _Repeated(bytes(response), now + t1, t1, now + 64 * t1)
        return response

    def receive(self, message: Request | Response, now: float) -> None:
        """Takes a message; one that belongs to nothing is passed over."""
        try:
            if isinstance(message, Request):
                self._receive_request(message, now)
                return
            transaction = self._table.find_client(message)
        except SipParseError:
            return
        if transaction is not None:
            transaction.receive_response(message, now)
            self._drain(transaction, now)

    def expire(self, now: float) -> None:
        """Does what is due."""
        for transaction in self._table.expire(now):
            self._drain(transaction, now)
        for key, item in list(self._repeated.items()):
            if now >= item.until:
                del self._repeated[key]
            elif now >= item.due:
                self._outgoing.append(item.data)
                item.interval = min(2 * item.interval, self._timers.t2)
                item.due = now + item.interval

    def _receive_request(self, request: Request, now: float) -> None:
        known = self._table.find_server(request, _FLOW)
        if request.method == "ACK":
            awaited = self._repeated.pop((request.call_id, request.cseq.number), None)
            if known is not None:
                known.receive_request(request, now)
                self._drain(known, now)
            elif awaited is not None or self._reliable:
                self._events.append(Asked(request))
            return
        if known is not None:
            known.receive_request(request, now)
            self._drain(known, now)
            return
        transaction = server_transaction(request, _FLOW, now, reliable=self._reliable, timers=self._timers)
        self._table.add(transaction)
        self._drain(transaction, now)
        self._events.append(Asked(request))

    def _send_request(self, request: Request, number: int, now: float) -> None:
        sent = request.copy()
        sent.prepend("Via", str(self._via()))
        transaction = client_transaction(sent, reliable=self._reliable, timers=self._timers)
        self._table.add(transaction)
        self._numbers[transaction.table_id] = number
        transaction.start(now)
        self._drain(transaction, now)

    def _via(self) -> Via:
        return Via(self.transport, self._host, self._port, Params([("rport", None), ("branch", f"z9hG4bK{token_hex(8)}")]))

    def _drain(self, transaction: Transaction, now: float) -> None:
        """Carries out what a transaction wants."""
        for event in transaction.events():
            if isinstance(event, SendMessage):
                self._outgoing.append(bytes(event.message))
            elif isinstance(event, AckReceived):
                if event.end_to_end:
                    self._events.append(Asked(event.request))
            elif isinstance(transaction, ClientTransaction):
                if isinstance(event, ResponseReceived):
                    self._received(transaction, event.response, now)
                elif isinstance(event, TimedOut):
                    self._events.append(Unanswered(self._numbers[transaction.table_id]))
        self._table.update(transaction)

    def _received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        number = self._numbers[transaction.table_id]
        if number in self._acks and response.status >= 200:
            self._outgoing.append(self._acks[number])
            return
        if response.status in (401, 407) and number not in self._challenged:
            self._challenged.add(number)
            again = transaction.request.copy()
            again.remove_first_value("Via")
            again.set("CSeq", f"{again.cseq.number + 1} {again.method}")
            self._sequence = max(self._sequence, again.cseq.number)
            try:
                authorize(again, response, self.identity.user, self.identity.password)
            except SipParseError:
                pass  # the challenge is the answer then
            else:
                self._send_request(again, number, now)
                return
        self._events.append(Answered(number, transaction.request, response))
