import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from parley.platform.telemetry.counters import FastCounter, FastHistogram


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


def test_a_histogram_is_shown_as_one_of_prometheus_client() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bounds = (0.005, 0.1, 1, 2.5)
    fast = FastHistogram("parley_x_seconds", "How long it takes", bounds, registry=ours)
    slow = Histogram("parley_x_seconds", "How long it takes", buckets=bounds, registry=theirs)
    for histogram in (fast, slow):
        for value in (0.0, 0.005, 0.0051, 0.5, 1, 2.5, 2.6, 60):  # bounds belong to the bucket below
            histogram.observe(value)
    expected = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == expected


def test_a_histogram_has_a_name_of_its_own() -> None:
    registry = CollectorRegistry()
    FastHistogram("parley_x_seconds", "How long it takes", (1,), registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("parley_x_seconds", "Again", registry=registry)
