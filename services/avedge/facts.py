"""What workers report, as metrics and events.

Events say who relayed how much for how long. They carry no address of a peer or client, and no credential: of a time-limited
name only the user it was issued for.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from parley.platform.clock import Clock
from parley.platform.events.publisher import FactPublisher
from parley.proto.avedge.v1 import relay_pb2, worker_pb2
from parley.proto.events.v1.edge_pb2 import AllocationChanged
from parley.stun.turn.observer import CloseReason
from services.avedge.metrics import REFUSED, add_counts

TOPIC: Final = "parley.edge"

LOST_FACTS: Final = Counter("parley_relay_facts_lost_total", "Events given up because the event bus was away too long")
_CLASS: Final = ["dialect", "transport", "family"]
_OPEN = Gauge("parley_relay_allocations", "Allocations that are open, by class", _CLASS)
_OPENED = Counter("parley_relay_allocations_opened_total", "Allocations begun, by class", _CLASS)
_CLOSED = Counter("parley_relay_allocations_closed_total", "Allocations ended, by class and reason", [*_CLASS, "reason"])
_REQUESTS = Counter("parley_relay_allocation_requests_total", "Requests for an allocation judged, by outcome", ["outcome"])
_GRANTED, _REFUSED, _FAILED = (_REQUESTS.labels(outcome) for outcome in ("granted", "refused", "failed"))
_UNJUDGED: Final = frozenset({0, 300, 401, 438})
"""No answer, another edge, a challenge: a further request follows, or none was meant."""
_FAULTS: Final = frozenset({500, 508})
"""Of the edge, not of the client: an error, no port, a drain."""
_REFRESHED = Counter("parley_relay_refreshes_total", "Allocations prolonged")
_BYTES = Counter("parley_relay_bytes_total", "Payload relayed by allocations that ended", [*_CLASS, "direction"])
_PACKETS = Counter("parley_relay_packets_total", "Packets relayed by allocations that ended", [*_CLASS, "direction"])
_CONNECTIONS = Gauge("parley_relay_connections", "TCP connections of clients", ["worker"])


class Facts:
    """Takes the reports of all workers."""

    def __init__(self, edge_uid: str, publisher: FactPublisher, clock: Clock) -> None:
        self._edge_uid = edge_uid
        self._publisher = publisher
        self._clock = clock
        self._live: dict[tuple[int, int], relay_pb2.AllocationState] = {}

    def report(self, worker: int, report: worker_pb2.WorkerReport) -> None:
        """One report of a worker."""
        kind = report.WhichOneof("report")
        if kind == "opened":
            self._opened(worker, report.opened)
        elif kind == "ended":
            self._ended(worker, report.ended.allocation, report.ended.reason)
        elif kind == "counts":
            self._counted(worker, report.counts)

    @property
    def live(self) -> int:
        """How many allocations there are."""
        return len(self._live)

    def lost(self, worker: int) -> None:
        """A worker died: what it held is over."""
        for key in [key for key in self._live if key[0] == worker]:
            self._ended(worker, self._live[key], CloseReason.WORKER_LOST)
        _CONNECTIONS.labels(str(worker)).set(0)

    def _opened(self, worker: int, state: relay_pb2.AllocationState) -> None:
        self._live[worker, state.number] = state
        labels = _class_of(state)
        _OPEN.labels(*labels).inc()
        _OPENED.labels(*labels).inc()
        _GRANTED.inc()
        fact = self._fact(AllocationChanged.KIND_OPENED, worker, state)
        self._publisher.publish(TOPIC, self._key(worker, state), fact)

    def _ended(self, worker: int, state: relay_pb2.AllocationState, reason: str) -> None:
        if self._live.pop((worker, state.number), None) is None:
            return
        labels, traffic = _class_of(state), state.traffic
        _OPEN.labels(*labels).dec()
        _CLOSED.labels(*labels, reason).inc()
        _BYTES.labels(*labels, "sent").inc(traffic.sent_bytes)
        _BYTES.labels(*labels, "received").inc(traffic.received_bytes)
        _PACKETS.labels(*labels, "sent").inc(traffic.sent_packets)
        _PACKETS.labels(*labels, "received").inc(traffic.received_packets)
        _PACKETS.labels(*labels, "dropped").inc(traffic.dropped_packets)
        fact = self._fact(AllocationChanged.KIND_CLOSED, worker, state)
        fact.reason = reason
        fact.duration_ms = max(0, fact.at_ms - state.opened_at_ms)
        for name in ("sent_packets", "sent_bytes", "received_packets", "received_bytes", "dropped_packets"):
            setattr(fact, name, getattr(traffic, name))
        self._publisher.publish(TOPIC, self._key(worker, state), fact)

    def _counted(self, worker: int, counts: worker_pb2.Counts) -> None:
        for refusal in counts.refusals:
            REFUSED.labels(refusal.dialect, refusal.method, str(refusal.code)).inc(refusal.count)
            if refusal.method == "allocate" and refusal.code not in _UNJUDGED:
                (_FAILED if refusal.code in _FAULTS else _REFUSED).inc(refusal.count)
        _REFRESHED.inc(counts.refreshed)
        _CONNECTIONS.labels(str(worker)).set(counts.connections)
        add_counts(counts.metrics)

    def _fact(
        self, kind: AllocationChanged.Kind.ValueType, worker: int, state: relay_pb2.AllocationState
    ) -> AllocationChanged:
        return AllocationChanged(
            kind=kind, edge_uid=self._edge_uid, worker=worker, number=state.number, at_ms=round(self._clock.wall() * 1000),
            dialect=state.dialect, transport=state.transport, relays=state.relays, tcp_relay=state.tcp_relay,
            username=state.username,
        )  # fmt: skip

    def _key(self, worker: int, state: relay_pb2.AllocationState) -> str:
        return f"{self._edge_uid} {worker} {state.number} {state.opened_at_ms}"


def _class_of(state: relay_pb2.AllocationState) -> tuple[str, str, str]:
    ipv6 = [relay.startswith("[") for relay in state.relays]
    family = "dual" if len(ipv6) > 1 else "ipv6" if ipv6 and ipv6[0] else "ipv4"
    return state.dialect, state.transport, family
