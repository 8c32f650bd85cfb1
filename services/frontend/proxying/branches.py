"""One copy of a request on its way to one place: over a flow of this front end, or through another front end.

A `Branch` is opened with the request that will be sent and tells its user three things: a response came (our own Via on
top), it failed without one, it is over. `LocalBranches` runs client transactions over the flows held here;
`services.frontend.proxying.peers` does the same through `Edge.Deliver`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from parley.sip.message import Request, Response
from parley.sip.transaction import (
    InviteClientTransaction,
    ResponseReceived,
    SendMessage,
    State,
    Terminated,
    TimedOut,
    Transaction,
    TransactionError,
    TransactionEvent,
    TransportFailed,
    client_transaction,
)
from services.frontend.flows import Flow
from services.frontend.proxying.driver import Driver


@dataclass(frozen=True, slots=True)
class FlowRef:
    """Where a client is reached: a flow of this front end or of another one. It is the same one wherever that is reached."""

    edge_uid: str
    connection_id: int
    edge_address: str = field(default="", compare=False)
    """gRPC address of the front end that holds the flow; "" when it is not known or gone."""


class BranchUser(Protocol):
    """Who opened a branch."""

    def on_response(self, branch: Branch, response: Response) -> None:
        """A response came, with our own Via on top; several provisional ones, and several 2xx to an INVITE."""

    def on_failure(self, branch: Branch, status: int) -> None:
        """No response will come: 408 timeout, 430 the flow is gone, 503 it could not be sent."""

    def on_over(self, branch: Branch) -> None:
        """Nothing more will come of this branch, not even a repeated 2xx."""

    def on_cancel(self, reason: str | None) -> None:
        """A CANCEL was sent."""


class Branch(Protocol):
    """A request that was sent."""

    request: Request
    """The copy as it was sent, our Via on top."""

    def cancel(self, reason: str | None) -> None:
        """Sends a CANCEL (INVITE only), with the value of a Reason header."""

    def send_raw(self, request: Request) -> None:
        """Sends a further request the same way, without a transaction: the ACK of an abandoned answer."""


class LocalBranches:
    """Client transactions over the flows of this front end."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._unanswered: dict[int, set[LocalBranch]] = {}
        """By number of the connection, those to which no response has come."""

    def open(self, request: Request, flow: Flow, user: BranchUser) -> LocalBranch:
        """Starts a client transaction; failures are told to ``user``, also those that happen at once."""
        transaction = client_transaction(request, reliable=flow.reliable, timers=self._driver.timers)
        branch = LocalBranch(request, flow, user, self._driver, transaction, self._on_answered if flow.reliable else None)
        if not self._driver.add(transaction, branch):
            user.on_failure(branch, 503)
            return branch
        if flow.reliable:
            self._unanswered.setdefault(flow.connection_id, set()).add(branch)
        transaction.start(self._driver.now())
        self._driver.pump(transaction)
        return branch

    def on_flow_closed(self, flow: Flow) -> None:
        """A connection ended: what was written to it last may never have arrived (RFC 3261 section 18.4).

        Requests that the other side has answered at all, be it provisionally, did arrive, and their answer may come over
        another connection (section 18.2.2); the others fail, so that another flow is tried.
        """
        for branch in self._unanswered.pop(flow.connection_id, ()):
            branch.fail()

    def unanswered(self) -> Iterable[int]:
        """Numbers of the connections over which a request was sent to which no response has come."""
        return self._unanswered.keys()

    def _on_answered(self, branch: LocalBranch) -> None:
        waiting = self._unanswered.get(branch.flow.connection_id)
        if waiting is not None:
            waiting.discard(branch)
            if not waiting:
                del self._unanswered[branch.flow.connection_id]

    def receive(self, response: Response) -> bool:
        """Gives a response to its transaction; False when there is none."""
        transaction = self._driver.table.find_client(response)
        if transaction is None:
            return False
        transaction.receive_response(response, self._driver.now())
        self._driver.pump(transaction)
        return True


class LocalBranch:
    """A client transaction over one flow; see `Branch`."""

    def __init__(
        self, request: Request, flow: Flow, user: BranchUser, driver: Driver, transaction: Transaction,
        on_answered: Callable[[LocalBranch], None] | None,
    ) -> None:  # fmt: skip
        """``on_answered`` is called once: at the first response, or when there will be none."""
        self.request = request
        self.flow = flow
        self._user = user
        self._driver = driver
        self._transaction = transaction
        self._on_answered = on_answered

    def fail(self) -> None:
        """The flow is gone before any response came."""
        self._transaction.transport_failed(self._driver.now())
        self._driver.pump(self._transaction)

    def cancel(self, reason: str | None) -> None:
        """Sends a CANCEL as a client transaction of its own, when the INVITE may be cancelled."""
        invite = self._transaction
        if not isinstance(invite, InviteClientTransaction) or invite.state is not State.PROCEEDING:
            return
        self._user.on_cancel(reason)
        cancel = client_transaction(
            invite.cancel(self._driver.now(), reason), reliable=self.flow.reliable, timers=self._driver.timers
        )
        try:
            added = self._driver.add(cancel, _CancelOwner(self.flow))
        except TransactionError:  # it is on its way already
            return
        if added:
            cancel.start(self._driver.now())
            self._driver.pump(cancel)
        self._driver.pump(invite)

    def send_raw(self, request: Request) -> None:
        """Writes a message to the flow."""
        self.flow.send(bytes(request))

    def on_event(self, transaction: Transaction, event: TransactionEvent) -> None:
        """Carries out what the transaction says."""
        if self._on_answered is not None and not isinstance(event, SendMessage):
            self._on_answered(self)
            self._on_answered = None
        if isinstance(event, SendMessage):
            if not self.flow.send(bytes(event.message)):
                transaction.transport_failed(self._driver.now())
                self._driver.pump(transaction)
        elif isinstance(event, ResponseReceived):
            self._user.on_response(self, event.response)
        elif isinstance(event, TimedOut):
            self._user.on_failure(self, 408)
        elif isinstance(event, TransportFailed):
            self._user.on_failure(self, 430)
        elif isinstance(event, Terminated):
            self._user.on_over(self)


class _CancelOwner:
    """A CANCEL is sent and its answer is of no interest."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def on_event(self, transaction: Transaction, event: TransactionEvent) -> None:
        """Sends; the rest is not looked at."""
        if isinstance(event, SendMessage):
            self._flow.send(bytes(event.message))


class DeadBranch:
    """A request that was never sent, as its flow is gone."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def cancel(self, reason: str | None) -> None:
        """There is nothing to cancel."""

    def send_raw(self, request: Request) -> None:
        """There is nowhere to send to."""
