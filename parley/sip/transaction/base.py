"""What all four transaction machines share: states, deadlines and the queue of events.

A transaction never looks at a clock: every input carries ``now`` (seconds, monotonic) and ``deadline`` says
when ``handle_timer`` is wanted next. Invariants: ``Terminated`` is told exactly once and is the last event; a
terminated transaction has no deadline and ignores every input.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from math import inf

from parley.sip.errors import SipError
from parley.sip.message import Request, Response
from parley.sip.transaction.events import SendMessage, Terminated, TransactionEvent, TransportFailed
from parley.sip.transaction.timers import DEFAULT_TIMERS, Timers


class TransactionError(SipError):
    """A transaction was used in a way its state does not allow."""


class State(Enum):
    """The states of RFC 3261 figures 5 to 8 and of RFC 6026 figures 3 and 5."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Transaction:
    """The common part of client and server transactions."""

    __slots__ = (
        "_events",
        "_expire_at",
        "_interval",
        "_retransmit_at",
        "key",
        "owner",
        "reliable",
        "request",
        "state",
        "table_id",
        "timers",
    )

    def __init__(
        self,
        request: Request,
        key: Hashable,
        state: State,
        *,
        reliable: bool,
        timers: Timers = DEFAULT_TIMERS,
    ) -> None:
        self.request: Request = request
        self.key: Hashable = key
        self.state: State = state
        self.reliable: bool = reliable
        self.timers: Timers = timers
        self.owner: object = None
        self.table_id: int = 0
        self._events: list[TransactionEvent] = []
        self._retransmit_at: float = inf
        self._expire_at: float = inf
        self._interval: float = timers.t1

    @property
    def deadline(self) -> float | None:
        """When ``handle_timer`` is due next (monotonic seconds), None when nothing is awaited."""
        at = self._expire_at if self._expire_at < self._retransmit_at else self._retransmit_at
        return None if at == inf else at

    @property
    def terminated(self) -> bool:
        """Whether the transaction is over."""
        return self.state is State.TERMINATED

    def events(self) -> list[TransactionEvent]:
        """Drain what the last inputs led to, in order."""
        events = self._events
        self._events = []
        return events

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``; harmless when called early or late."""
        if now >= self._expire_at:
            self._expire_at = inf
            self._retransmit_at = inf
            self._expired(now)
        elif now >= self._retransmit_at:
            self._retransmit(now)

    def transport_failed(self, now: float) -> None:
        """Tell that a message handed out could not be sent. Client transactions end by it (RFC 3261 section
        17.1.4).
        """
        if self.state is not State.TERMINATED:
            self._events.append(TransportFailed())
            self._terminate()

    def abandon(self) -> None:
        """End the transaction at once, telling nothing but ``Terminated`` (its user is gone)."""
        self._terminate()

    def _expired(self, now: float) -> None:
        """The transaction's final timer of this state fired."""
        raise NotImplementedError

    def _retransmit(self, now: float) -> None:
        """The retransmission timer fired."""
        raise NotImplementedError

    def _send(self, message: Request | Response, retransmission: bool = False) -> None:
        self._events.append(SendMessage(message, retransmission))

    def _linger(self, state: State, now: float, seconds: float) -> None:
        """Enter a state that only absorbs, for a time; for no time at all when it is zero."""
        self._retransmit_at = inf
        if seconds <= 0:
            self._terminate()
            return
        self.state = state
        self._expire_at = now + seconds

    def _terminate(self) -> None:
        if self.state is not State.TERMINATED:
            self.state = State.TERMINATED
            self._retransmit_at = inf
            self._expire_at = inf
            self._events.append(Terminated())
