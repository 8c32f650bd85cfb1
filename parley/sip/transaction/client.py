"""Client transactions (RFC 3261 section 17.1, with the Accepted state of RFC 6026 section 7.2).

The request handed in must already carry our Via with a unique branch. Retransmissions of a 2xx to INVITE are
passed on for 64*T1, as the dialog acknowledges them end to end; a failure is acknowledged here, hop by hop.
"""

from __future__ import annotations

from math import inf

from parley.sip.message import Request, Response
from parley.sip.transaction.base import State, Transaction, TransactionError
from parley.sip.transaction.events import ResponseReceived, TimedOut
from parley.sip.transaction.keys import client_key
from parley.sip.transaction.timers import DEFAULT_TIMERS, Timers


class ClientTransaction(Transaction):
    """A request sent, and what comes back. Make one with ``client_transaction``, then call ``start``."""

    __slots__ = ()

    def __init__(self, request: Request, state: State, *, reliable: bool, timers: Timers = DEFAULT_TIMERS) -> None:
        super().__init__(request, client_key(request), state, reliable=reliable, timers=timers)

    def start(self, now: float) -> None:
        """Send the request and arm its timers (A and B, or E and F)."""
        self._send(self.request)
        self._expire_at = now + self.timers.transaction_timeout
        if not self.reliable:
            self._interval = self.timers.t1
            self._retransmit_at = now + self._interval

    def receive_response(self, response: Response, now: float) -> None:
        """Handle a response whose ``client_key`` is this transaction's."""
        raise NotImplementedError

    def _timed_out(self) -> None:
        self._events.append(TimedOut())
        self._terminate()

    def _pass_on(self, response: Response) -> None:
        self._events.append(ResponseReceived(response))


class InviteClientTransaction(ClientTransaction):
    """RFC 3261 figure 5 as changed by RFC 6026 figure 5: Calling, Proceeding, Accepted, Completed,
    Terminated.
    """

    __slots__ = ("_ack", "_cancel")

    def __init__(self, request: Request, *, reliable: bool, timers: Timers = DEFAULT_TIMERS) -> None:
        super().__init__(request, State.CALLING, reliable=reliable, timers=timers)
        self._ack: Request | None = None
        self._cancel: Request | None = None

    def receive_response(self, response: Response, now: float) -> None:
        """Pass responses on; acknowledge a failure; keep passing on every 2xx while Accepted."""
        status = response.status
        state = self.state
        if state is State.CALLING or state is State.PROCEEDING:
            self._pass_on(response)
            if status < 200:
                if state is State.CALLING:
                    self.state = State.PROCEEDING
                    self._retransmit_at = inf
                    self._expire_at = inf
            elif status < 300:
                self._linger(State.ACCEPTED, now, self.timers.transaction_timeout)  # timer M
            else:
                self._ack = make_failure_ack(self.request, response)
                self._send(self._ack)
                self._linger(State.COMPLETED, now, self.timers.completed_invite_client(self.reliable))  # timer D
        elif state is State.ACCEPTED and 200 <= status < 300:
            self._pass_on(response)
        elif state is State.COMPLETED and status >= 300 and self._ack is not None:
            self._send(self._ack, retransmission=True)

    def cancel(self, now: float, reason: str | None = None) -> Request:
        """The CANCEL for this INVITE (RFC 3261 section 9.1), to be sent as a client transaction of its own.

        ``reason`` is the value of a Reason header (RFC 3326). May be called once a provisional response came;
        from then on the INVITE is given up (``TimedOut``) when no final response follows within 64*T1. Raises
        TransactionError in any other state than Proceeding.
        """
        if self.state is not State.PROCEEDING:
            raise TransactionError(f"an INVITE in state {self.state.value} cannot be cancelled")
        if self._cancel is None:
            self._cancel = make_cancel(self.request, reason)
            self._expire_at = now + self.timers.transaction_timeout
        return self._cancel

    def _retransmit(self, now: float) -> None:
        self._send(self.request, retransmission=True)
        self._interval *= 2  # timer A
        self._retransmit_at = now + self._interval

    def _expired(self, now: float) -> None:
        if self.state is State.CALLING or self.state is State.PROCEEDING:
            self._timed_out()  # timer B, or nothing followed a CANCEL
        else:
            self._terminate()  # timers D, M


class NonInviteClientTransaction(ClientTransaction):
    """RFC 3261 figure 6: Trying, Proceeding, Completed, Terminated."""

    __slots__ = ()

    def __init__(self, request: Request, *, reliable: bool, timers: Timers = DEFAULT_TIMERS) -> None:
        super().__init__(request, State.TRYING, reliable=reliable, timers=timers)

    def receive_response(self, response: Response, now: float) -> None:
        """Pass provisional responses and the first final one on; absorb what follows."""
        if self.state is not State.TRYING and self.state is not State.PROCEEDING:
            return
        self._pass_on(response)
        if response.status < 200:
            self.state = State.PROCEEDING
        else:
            self._linger(State.COMPLETED, now, self.timers.completed_non_invite_client(self.reliable))  # timer K

    def _retransmit(self, now: float) -> None:
        self._send(self.request, retransmission=True)
        t2 = self.timers.t2
        self._interval = t2 if self.state is State.PROCEEDING else min(2 * self._interval, t2)  # timer E
        self._retransmit_at = now + self._interval

    def _expired(self, now: float) -> None:
        if self.state is State.COMPLETED:
            self._terminate()  # timer K
        else:
            self._timed_out()  # timer F


def client_transaction(
    request: Request, *, reliable: bool, timers: Timers = DEFAULT_TIMERS
) -> InviteClientTransaction | NonInviteClientTransaction:
    """The machine that fits the request's method.

    Raises TransactionError for an ACK: it has no transaction (RFC 3261 section 17.1).
    """
    if request.method == "INVITE":
        return InviteClientTransaction(request, reliable=reliable, timers=timers)
    if request.method == "ACK":
        raise TransactionError("an ACK has no transaction")
    return NonInviteClientTransaction(request, reliable=reliable, timers=timers)


def make_failure_ack(invite: Request, response: Response) -> Request:
    """The hop-by-hop ACK for a final non-2xx response (RFC 3261 section 17.1.1.3)."""
    return _derived(invite, "ACK", response.get("To") or "")


def make_cancel(invite: Request, reason: str | None = None) -> Request:
    """The CANCEL for an INVITE we sent (RFC 3261 section 9.1), with a Reason header (RFC 3326) when one is
    given.
    """
    cancel = _derived(invite, "CANCEL", invite.get("To") or "")
    if reason is not None:
        cancel.add("Reason", reason)
    return cancel


def _derived(invite: Request, method: str, to: str) -> Request:
    """A request that follows the INVITE's way: same top Via, Route, From, Call-ID and CSeq number."""
    headers: list[tuple[str, str]] = [("Via", str(invite.via))]
    headers.extend(("Route", route) for route in invite.get_all("Route"))
    headers.append(("Max-Forwards", "70"))
    headers.append(("From", invite.get("From") or ""))
    headers.append(("To", to))
    headers.append(("Call-ID", invite.call_id))
    headers.append(("CSeq", f"{invite.cseq.number} {method}"))
    headers.append(("Content-Length", "0"))
    return Request.create(method, invite.uri_text, headers=headers)
