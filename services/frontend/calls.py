"""Call facts: started, ringing, answered, ended with cause and duration.

The front end that the caller's INVITE came in through is the one that tells the story of a call, whichever way its later
requests travel: it sees the answer on the server transaction, and the BYE of either side because it is on the route set.
A call is known by Call-ID and the caller's tag together with the flow it came in on, as clients reuse Call-IDs.

`CallTracker` holds no sockets and no clock: it is told what passes and returns the events to publish.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from parley.proto.events.v1.call_pb2 import CallChanged

TOPIC: Final = "parley.calls"

_CALLS = Gauge("parley_frontend_calls", "Calls that are ringing or talking, by the front end of the caller")
_ENDED = Counter("parley_frontend_calls_ended_total", "Calls that ended, by cause", ["cause"])
_SETUPS = Counter("parley_frontend_call_setups_total", "Calls whose set-up is over, by outcome", ["outcome"])
for _outcome in ("answered", "unanswered", "failed"):  # told from the start: what begins above nought has no rate
    _SETUPS.labels(_outcome)
_SETUP_SECONDS = Histogram(
    "parley_frontend_call_setup_seconds", "Time from an INVITE until a phone rings or answers",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
LOST_FACTS: Final = Counter("parley_frontend_facts_lost_total", "Events given up because the event bus was away too long")

_MEDIA: Final = re.compile(rb"^m=(?!(?:x-ms-)?message\b)", re.MULTILINE)

_FAULTS: Final = frozenset({430, 500, 502, 503, 504})
"""A flow that was gone, a service that was away: no person and no unknown number. A phone that answers so counts too."""

_CAUSES: Final = {
    486: "busy",
    600: "busy",
    408: "no_answer",
    480: "no_answer",
    487: "cancelled",
    603: "declined",
}


@dataclass(frozen=True, slots=True)
class CallKey:
    """What tells one call from another on this front end."""

    call_id: str
    from_tag: str


@dataclass(slots=True)
class Call:
    """A call that has started and not ended; times in seconds since the Unix epoch."""

    key: CallKey
    from_aor: str
    to_aor: str
    started_at: float
    traceparent: str = ""
    voice: bool = True
    has_udp: bool = False
    """Whether a phone of it is reached over UDP from here."""
    ringing: bool = False
    answered_at: float | None = None
    to_tag: str = ""
    """Of the callee who rings first, then of the one who answers."""

    @property
    def state(self) -> str:
        """ "started", "ringing" or "answered"."""
        if self.answered_at is not None:
            return "answered"
        return "ringing" if self.ringing else "started"


class CallTracker:
    """The calls that began on this front end.

    Every method takes the wall-clock time and returns the fact to publish, or None when nothing new happened.
    """

    def __init__(self, edge_uid: str = "", max_seconds: float = 86_400) -> None:
        """``edge_uid``: this front end; ``max_seconds``: a call that old is taken for lost, as its BYE never came."""
        self._calls: dict[CallKey, Call] = {}
        self._edge_uid = edge_uid
        self._max_seconds = max_seconds

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls.values())

    def get(self, key: CallKey) -> Call | None:
        """The call of that key, if it goes on."""
        return self._calls.get(key)

    @property
    def have_udp(self) -> bool:
        """Whether there is a call with a phone that is reached over UDP from here; looks at all there are."""
        return any(call.has_udp for call in self._calls.values())

    def started(
        self, key: CallKey, *, from_aor: str, to_aor: str, now: float, traceparent: str = "", voice: bool = True,
        over_udp: bool = False,
    ) -> CallChanged | None:  # fmt: skip
        """An INVITE outside any dialog was authenticated and is being routed.

        ``voice``: not one for messages alone; ``over_udp``: the caller is on UDP.
        """
        if key in self._calls:
            return None
        call = self._calls[key] = Call(key, from_aor, to_aor, now, traceparent, voice, over_udp)
        _CALLS.set(len(self._calls))
        return self._fact(call, CallChanged.KIND_STARTED, now)

    def offered_over_udp(self, key: CallKey) -> None:
        """A call goes to a phone on UDP from here."""
        call = self._calls.get(key)
        if call is not None:
            call.has_udp = True

    def provisional(self, key: CallKey, status: int, now: float, to_tag: str = "") -> CallChanged | None:
        """A 101 to 199 went to the caller; the first one that tells of ringing or early media counts."""
        call = self._calls.get(key)
        if call is None or call.ringing or call.answered_at is not None or status not in (180, 182, 183):
            return None
        call.ringing = True
        call.to_tag = to_tag
        _SETUP_SECONDS.observe(max(0.0, now - call.started_at))
        return self._fact(call, CallChanged.KIND_RINGING, now)

    def answered(self, key: CallKey, now: float, to_tag: str = "") -> CallChanged | None:
        """The first 2xx went to the caller."""
        call = self._calls.get(key)
        if call is None or call.answered_at is not None:
            return None
        call.answered_at = now
        call.to_tag = to_tag
        _SETUPS.labels("answered").inc()
        if not call.ringing:
            _SETUP_SECONDS.observe(max(0.0, now - call.started_at))
        return self._fact(call, CallChanged.KIND_ANSWERED, now)

    def failed(self, key: CallKey, status: int, now: float) -> CallChanged | None:
        """A final response of 300 or more went to the caller before any answer."""
        call = self._calls.get(key)
        if call is None or call.answered_at is not None:
            return None
        _SETUPS.labels("failed" if status in _FAULTS else "unanswered").inc()
        by = "caller" if status == 487 else "server" if status in (404, 408, 430, 480, 500, 503, 504) else "callee"
        return self._end(call, now, status=status, cause=_CAUSES.get(status, "failed"), by=by)

    def hung_up(self, call_id: str, from_tag: str, to_tag: str, now: float) -> CallChanged | None:
        """A BYE passed; the tags are those of the BYE, so the caller's is in From when the caller hung up."""
        for tag, by in ((from_tag, "caller"), (to_tag, "callee")):
            call = self._calls.get(CallKey(call_id, tag))
            if call is not None and call.answered_at is not None:
                return self._end(call, now, status=200, cause="completed", by=by)
        return None

    def sweep(self, now: float) -> list[CallChanged]:
        """Ends the calls that are older than any call can be."""
        old = [call for call in self._calls.values() if now - call.started_at > self._max_seconds]
        _SETUPS.labels("failed").inc(sum(call.answered_at is None for call in old))
        return [self._end(call, now, status=200 if call.answered_at else 408, cause="lost", by="server") for call in old]

    def _end(self, call: Call, now: float, *, status: int, cause: str, by: str) -> CallChanged:
        del self._calls[call.key]
        _CALLS.set(len(self._calls))
        _ENDED.labels(cause).inc()
        fact = self._fact(call, CallChanged.KIND_ENDED, now)
        fact.status = status
        fact.cause = cause
        fact.ended_by = by
        if call.answered_at is not None:
            fact.duration_ms = max(0, round((now - call.answered_at) * 1000))
        return fact

    def _fact(self, call: Call, kind: CallChanged.Kind.ValueType, now: float) -> CallChanged:
        return CallChanged(
            kind=kind,
            call_id=call.key.call_id,
            from_aor=call.from_aor,
            to_aor=call.to_aor,
            at_ms=round(now * 1000),
            voice=call.voice,
            from_tag=call.key.from_tag,
            to_tag=call.to_tag,
            edge_uid=self._edge_uid,
        )


def offers_media(body: bytes) -> bool:
    """Whether the body of an INVITE offers more than messages; one without any body may lead to anything.

    A body without media, such as an invitation to a conference, sets up no call.
    """
    return not body or _MEDIA.search(body) is not None
