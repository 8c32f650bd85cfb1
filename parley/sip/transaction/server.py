"""Server transactions (RFC 3261 section 17.2, with the Accepted state of RFC 6026 section 7.1).

A server transaction is made when a request arrives that no transaction knows; the request itself goes to the
user by whoever made it. Retransmitted requests are answered from what was sent last. An ACK reaches the
INVITE's machine through ``receive_request`` as well.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf

from parley.sip.message import Request, Response, make_response
from parley.sip.transaction.base import State, Transaction, TransactionError
from parley.sip.transaction.events import AckReceived, Cancelled, TimedOut, TransportFailed
from parley.sip.transaction.keys import has_rfc3261_branch, server_key
from parley.sip.transaction.timers import DEFAULT_TIMERS, Timers


class ServerTransaction(Transaction):
    """A request received, and what is answered. Make one with ``server_transaction``."""

    __slots__ = ("last_response",)

    def __init__(
        self,
        request: Request,
        key: Hashable,
        state: State,
        *,
        reliable: bool,
        timers: Timers = DEFAULT_TIMERS,
    ) -> None:
        super().__init__(request, key, state, reliable=reliable, timers=timers)
        self.last_response: Response | None = None

    def receive_request(self, request: Request, now: float) -> None:
        """Handle a request whose ``server_key`` is this transaction's: a retransmission, or the ACK."""
        raise NotImplementedError

    def send_response(self, response: Response, now: float) -> None:
        """Answer. A response that the state does not allow any more is dropped, as RFC 3261 section 17.2
        says.
        """
        raise NotImplementedError

    @property
    def answered(self) -> bool:
        """Whether a final response was sent."""
        return self.last_response is not None and self.last_response.status >= 200

    def _respond(self, response: Response) -> None:
        self.last_response = response
        self._send(response)

    def _repeat(self) -> None:
        if self.last_response is not None:
            self._send(self.last_response, retransmission=True)


class InviteServerTransaction(ServerTransaction):
    """RFC 3261 figure 7 as changed by RFC 6026 figure 3: Proceeding, Accepted, Completed, Confirmed,
    Terminated.
    """

    __slots__ = ("cancelled",)

    def __init__(
        self,
        request: Request,
        key: Hashable,
        now: float,
        *,
        reliable: bool,
        timers: Timers = DEFAULT_TIMERS,
    ) -> None:
        super().__init__(request, key, State.PROCEEDING, reliable=reliable, timers=timers)
        self.cancelled: bool = False
        if timers.trying_after is not None:
            self._retransmit_at = now + timers.trying_after
            if timers.trying_after <= 0:
                self._retransmit(now)

    def receive_request(self, request: Request, now: float) -> None:
        """Answer a retransmitted INVITE with the last response; take the ACK."""
        state = self.state
        if request.method == "ACK":
            if state is State.ACCEPTED:
                self._events.append(AckReceived(request, end_to_end=True))
            elif state is State.COMPLETED and self._acknowledges(request):
                self._events.append(AckReceived(request, end_to_end=False))
                self._linger(State.CONFIRMED, now, self.timers.confirmed_invite_server(self.reliable))  # timer I
        elif state is State.PROCEEDING or state is State.COMPLETED:
            self._repeat()

    def send_response(self, response: Response, now: float) -> None:
        """Send a provisional or final response; while Accepted, further 2xx only (RFC 6026 section 7.1)."""
        status = response.status
        if self.state is State.PROCEEDING:
            self._retransmit_at = inf
            self._respond(response)
            if 200 <= status < 300:
                self._linger(State.ACCEPTED, now, self.timers.transaction_timeout)  # timer L
            elif status >= 300:
                self.state = State.COMPLETED
                self._expire_at = now + self.timers.transaction_timeout  # timer H
                if not self.reliable:
                    self._interval = self.timers.t1
                    self._retransmit_at = now + self._interval  # timer G
        elif self.state is State.ACCEPTED and 200 <= status < 300:
            self._respond(response)

    def receive_cancel(self, cancel: Request, now: float) -> bool:
        """Tell the user that the caller gave up (RFC 3261 section 9.2); whether that changes anything.

        The CANCEL is answered 200 by a transaction of its own in any case. It has no effect on an INVITE that
        got a final response, and only the first one counts.
        """
        if self.state is not State.PROCEEDING or self.cancelled:
            return False
        self.cancelled = True
        self._events.append(Cancelled(cancel))
        return True

    def transport_failed(self, now: float) -> None:
        """Tell the user, and stay: the state may not be lost by a send error alone (RFC 6026 section 7.1)."""
        if self.state is not State.TERMINATED:
            self._events.append(TransportFailed())

    def _acknowledges(self, ack: Request) -> bool:
        """Whether an ACK is for the response sent; without a branch its To tag must be that one's."""
        if self.last_response is None or has_rfc3261_branch(ack.via):
            return True
        return ack.to_tag == self.last_response.to_tag

    def _retransmit(self, now: float) -> None:
        if self.state is State.PROCEEDING:
            self._retransmit_at = inf
            if self.last_response is None:
                self._respond(make_response(self.request, 100))
        else:
            self._repeat()
            self._interval = min(2 * self._interval, self.timers.t2)  # timer G
            self._retransmit_at = now + self._interval

    def _expired(self, now: float) -> None:
        if self.state is State.COMPLETED:
            self._events.append(TimedOut())  # timer H: the ACK never came
        self._terminate()


class NonInviteServerTransaction(ServerTransaction):
    """RFC 3261 figure 8: Trying, Proceeding, Completed, Terminated."""

    __slots__ = ()

    def __init__(self, request: Request, key: Hashable, *, reliable: bool, timers: Timers = DEFAULT_TIMERS) -> None:
        super().__init__(request, key, State.TRYING, reliable=reliable, timers=timers)

    def receive_request(self, request: Request, now: float) -> None:
        """Answer a retransmission with the last response, if any was sent."""
        if self.state is State.PROCEEDING or self.state is State.COMPLETED:
            self._repeat()

    def send_response(self, response: Response, now: float) -> None:
        """Send a provisional response, or the one final response."""
        if self.state is State.TRYING or self.state is State.PROCEEDING:
            self._respond(response)
            if response.status < 200:
                self.state = State.PROCEEDING
            else:
                self._linger(State.COMPLETED, now, self.timers.completed_non_invite_server(self.reliable))  # timer J

    def _expired(self, now: float) -> None:
        self._terminate()

    def _retransmit(self, now: float) -> None:
        raise TransactionError("a non-INVITE server transaction retransmits only when asked")


def server_transaction(
    request: Request, flow_key: Hashable, now: float, *, reliable: bool, timers: Timers = DEFAULT_TIMERS
) -> InviteServerTransaction | NonInviteServerTransaction:
    """The machine that fits the request's method.

    ``flow_key`` names the flow the request came in on and becomes part of the key. Raises TransactionError
    for an ACK, which never makes a transaction, and SipParseError when the key cannot be read from the
    request.
    """
    method = request.method
    if method == "ACK":
        raise TransactionError("an ACK makes no transaction")
    key = server_key(request, flow_key)
    if method == "INVITE":
        return InviteServerTransaction(request, key, now, reliable=reliable, timers=timers)
    return NonInviteServerTransaction(request, key, reliable=reliable, timers=timers)
