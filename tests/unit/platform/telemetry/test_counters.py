import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from parley.platform.telemetry.counters import FastCounter


def test_it_is_shown_as_a_counter_of_prometheus_client() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = FastCounter("parley_x_total", "What it counts", ["kind"], registry=ours)
    slow = Counter("parley_x_total", "What it counts", ["kind"], registry=theirs)
    for counter in (fast, slow):
        counter.labels("a").inc()
        counter.labels("a").inc(2)
        counter.labels('b"\n').inc()
    expected = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == expected


def test_a_name_is_given_once_and_labels_are_checked() -> None:
    registry = CollectorRegistry()
    counter = FastCounter("parley_x_total", "What it counts", ["kind"], registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("parley_x_total", "Again", ["kind"], registry=registry)
    with pytest.raises(ValueError, match="kind"):
        counter.labels("a", "b")
