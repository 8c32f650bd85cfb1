from __future__ import annotations

from google.protobuf.message import Message
from prometheus_client import REGISTRY

from parley.platform.clock import FakeClock
from parley.platform.config import RedisConfig
from parley.platform.events.publisher import FactPublisher
from parley.platform.events.redis_streams import RedisStreamsBus
from parley.platform.store.client import Store
from parley.proto.avedge.v1.relay_pb2 import AllocationState
from parley.proto.avedge.v1.worker_pb2 import Counts, Ended, WorkerReport
from parley.proto.events.v1.edge_pb2 import AllocationChanged
from services.avedge.facts import LOST_FACTS, Facts
from services.avedge.metrics import DROPPED, NewCounts


def opened(number: int, clock: FakeClock) -> WorkerReport:
    state = AllocationState(
        number=number, dialect="turn", transport="udp", username="alice", relays=["192.0.2.1:50000"],
        opened_at_ms=round(clock.wall() * 1000),
    )  # fmt: skip
    return WorkerReport(opened=state)


def closed_as_lost() -> float:
    labels = {"dialect": "turn", "transport": "udp", "family": "ipv4", "reason": "worker-lost"}
    return REGISTRY.get_sample_value("parley_relay_allocations_closed_total", labels) or 0.0


class KeptFacts(FactPublisher):
    """Keeps what is published, in place of a bus."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(RedisStreamsBus(Store(RedisConfig(url="unix:///nowhere")), clock), LOST_FACTS)
        self.facts: list[AllocationChanged] = []

    def publish(self, topic: str, key: str, message: Message, traceparent: str = "") -> None:
        assert topic == "parley.edge"
        assert isinstance(message, AllocationChanged)
        self.facts.append(message)


async def test_what_a_dead_worker_held_is_told_to_be_over_and_nothing_else() -> None:
    clock = FakeClock()
    kept = KeptFacts(clock)
    facts, before = Facts("an edge", kept, clock), closed_as_lost()
    for worker, number in ((0, 1), (0, 2), (1, 1)):
        facts.report(worker, opened(number, clock))
    facts.report(0, WorkerReport(ended=Ended(allocation=opened(2, clock).opened, reason="released")))
    clock.advance(7)
    facts.lost(0)
    assert facts.live == 1
    ended = [(fact.worker, fact.number, fact.reason) for fact in kept.facts if fact.kind == AllocationChanged.KIND_CLOSED]
    assert ended == [(0, 2, "released"), (0, 1, "worker-lost")]
    assert kept.facts[-1].duration_ms == 7_000
    assert closed_as_lost() == before + 1
    facts.lost(0)
    assert closed_as_lost() == before + 1


async def test_what_another_process_counted_is_added_once() -> None:
    clock = FakeClock()
    new, cell = NewCounts(), DROPPED.labels("a cause of this test")
    new.take()
    cell.inc(3)
    told = [metric for metric in new.take() if metric.labels == ["a cause of this test"]]
    assert [metric.count for metric in told] == [3]
    assert not [metric for metric in new.take() if metric.labels == ["a cause of this test"]]
    facts = Facts("an edge", KeptFacts(clock), clock)
    facts.report(0, WorkerReport(counts=Counts(metrics=told)))
    assert cell.value == 6


def judged(outcome: str) -> float:
    return REGISTRY.get_sample_value("parley_relay_allocation_requests_total", {"outcome": outcome}) or 0.0


async def test_a_refused_allocation_is_the_fault_of_the_client_or_of_the_edge() -> None:
    clock = FakeClock()
    facts = Facts("an edge", KeptFacts(clock), clock)
    outcomes = ("granted", "refused", "failed")
    before = [judged(outcome) for outcome in outcomes]
    facts.report(0, opened(1, clock))
    refusals = [("allocate", 401, 9), ("allocate", 300, 9), ("allocate", 486, 2), ("allocate", 508, 3), ("refresh", 500, 9)]
    counts = Counts(
        refusals=[Counts.Refusal(dialect="turn", method=method, code=code, count=count) for method, code, count in refusals]
    )
    facts.report(0, WorkerReport(counts=counts))
    assert [judged(outcome) - then for outcome, then in zip(outcomes, before, strict=True)] == [1, 2, 3]
