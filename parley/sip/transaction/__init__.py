"""SIP transactions (RFC 3261 section 17, RFC 6026) as state machines without I/O."""

from parley.sip.transaction.base import State, Transaction, TransactionError
from parley.sip.transaction.client import (
    ClientTransaction,
    InviteClientTransaction,
    NonInviteClientTransaction,
    client_transaction,
    make_cancel,
    make_failure_ack,
)
from parley.sip.transaction.deadlines import DeadlineHeap
from parley.sip.transaction.events import (
    AckReceived,
    Cancelled,
    ResponseReceived,
    SendMessage,
    Terminated,
    TimedOut,
    TransactionEvent,
    TransportFailed,
)
from parley.sip.transaction.keys import (
    MAGIC_COOKIE,
    cancelled_key,
    client_key,
    has_rfc3261_branch,
    server_key,
)
from parley.sip.transaction.server import (
    InviteServerTransaction,
    NonInviteServerTransaction,
    ServerTransaction,
    server_transaction,
)
from parley.sip.transaction.table import TransactionTable
from parley.sip.transaction.timers import DEFAULT_TIMERS, Timers

__all__ = [
    "DEFAULT_TIMERS",
    "MAGIC_COOKIE",
    "AckReceived",
    "Cancelled",
    "ClientTransaction",
    "DeadlineHeap",
    "InviteClientTransaction",
    "InviteServerTransaction",
    "NonInviteClientTransaction",
    "NonInviteServerTransaction",
    "ResponseReceived",
    "SendMessage",
    "ServerTransaction",
    "State",
    "Terminated",
    "TimedOut",
    "Timers",
    "Transaction",
    "TransactionError",
    "TransactionEvent",
    "TransactionTable",
    "TransportFailed",
    "cancelled_key",
    "client_key",
    "client_transaction",
    "has_rfc3261_branch",
    "make_cancel",
    "make_failure_ack",
    "server_key",
    "server_transaction",
]
