"""The transactions of one process: found by key, driven by one heap of deadlines, limited in number.

The shell's rule is: after any input to a transaction, drain ``events()`` and call ``update``; that
reschedules it, or forgets it once it is terminated. When the table is full, ``add`` refuses and counts; the
shell then answers 503 statelessly (server) or fails the branch (client), so memory stays bounded under any
load.
"""

from __future__ import annotations

from collections.abc import Hashable

from parley.sip.message import Request, Response
from parley.sip.transaction.base import State, Transaction, TransactionError
from parley.sip.transaction.client import ClientTransaction
from parley.sip.transaction.deadlines import DeadlineHeap
from parley.sip.transaction.keys import cancelled_key, client_key, server_key
from parley.sip.transaction.server import InviteServerTransaction, ServerTransaction


class TransactionTable:
    """Keeps transactions until they terminate. ``limit`` counts clients and servers together."""

    __slots__ = ("_clients", "_deadlines", "_servers", "limit", "refused")

    def __init__(self, limit: int = 200_000) -> None:
        self.limit: int = limit
        self.refused: int = 0
        self._clients: dict[Hashable, ClientTransaction] = {}
        self._servers: dict[Hashable, ServerTransaction] = {}
        self._deadlines: DeadlineHeap[Transaction] = DeadlineHeap()

    def __len__(self) -> int:
        return len(self._deadlines)

    @property
    def clients(self) -> int:
        """How many client transactions there are."""
        return len(self._clients)

    @property
    def servers(self) -> int:
        """How many server transactions there are."""
        return len(self._servers)

    def add(self, transaction: Transaction) -> bool:
        """Take a transaction in. False (and ``refused`` is raised by one) when the table is full.

        Raises TransactionError when its key is taken: for a server, look the request up first; for a client,
        the branch was not unique.
        """
        if len(self._deadlines) >= self.limit:
            self.refused += 1
            return False
        if isinstance(transaction, ClientTransaction):
            if transaction.key in self._clients:
                raise TransactionError(f"a client transaction {transaction.key!r} exists already")
            self._clients[transaction.key] = transaction
        elif isinstance(transaction, ServerTransaction):
            if transaction.key in self._servers:
                raise TransactionError("a server transaction for this request exists already")
            self._servers[transaction.key] = transaction
        transaction.table_id = self._deadlines.add(transaction, transaction.deadline)
        return True

    def update(self, transaction: Transaction) -> None:
        """Take note of the transaction's new deadline, or forget it when it is terminated."""
        if not transaction.terminated:
            self._deadlines.reschedule(transaction.table_id, transaction.deadline)
            return
        self._deadlines.remove(transaction.table_id)
        if isinstance(transaction, ClientTransaction):
            if self._clients.get(transaction.key) is transaction:
                del self._clients[transaction.key]
        elif isinstance(transaction, ServerTransaction) and self._servers.get(transaction.key) is transaction:
            del self._servers[transaction.key]

    def find_server(self, request: Request, flow_key: Hashable) -> ServerTransaction | None:
        """The server transaction this request (or ACK) belongs to, if it is known."""
        return self._servers.get(server_key(request, flow_key))

    def find_cancelled(self, cancel: Request, flow_key: Hashable) -> InviteServerTransaction | None:
        """The INVITE server transaction that a CANCEL from the same flow is about, if there is one."""
        found = self._servers.get(cancelled_key(cancel, flow_key))
        return found if isinstance(found, InviteServerTransaction) else None

    def find_client(self, response: Response) -> ClientTransaction | None:
        """The client transaction a response answers, if it is known."""
        return self._clients.get(client_key(response))

    def unanswered(self) -> list[ServerTransaction]:
        """The requests that came and have no final response; looks at all there are."""
        return [transaction for transaction in self._servers.values() if not transaction.answered]

    def proceeding(self) -> list[ClientTransaction]:
        """The requests that were sent and have provisional responses alone; looks at all there are."""
        return [transaction for transaction in self._clients.values() if transaction.state is State.PROCEEDING]

    def next_deadline(self) -> float | None:
        """When ``expire`` is wanted next (monotonic seconds), None when nothing is awaited."""
        return self._deadlines.next_deadline()

    def expire(self, now: float) -> list[Transaction]:
        """Run the timers due at ``now``; the transactions whose events the shell now has to drain.

        They are rescheduled or forgotten already; a transaction that was handed in again by its user's
        reaction to an event is updated as after any input.
        """
        due = self._deadlines.pop_due(now)
        for transaction in due:
            transaction.handle_timer(now)
            self.update(transaction)
        return due
