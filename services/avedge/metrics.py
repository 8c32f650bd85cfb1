"""Metrics of the edge that several of its modules count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge

from parley.platform.telemetry.counters import FastCounter
from parley.proto.avedge.v1.worker_pb2 import Counts
from services.avedge.kernel import BUFFER_ERRORS

DROPPED: Final = FastCounter("parley_relay_dropped_total", "What came and was thrown away, by cause", ["cause"])
HANDSHAKES: Final = FastCounter("parley_relay_handshakes_total", "TLS, DTLS and pseudo-TLS handshakes", ["kind", "outcome"])
NATIVE: Final = Gauge("parley_relay_native", "1 when the native packet path moves packets, 0 when Python does")
REFUSED: Final = Counter("parley_relay_refused_total", "Requests refused, by method and code", ["dialect", "method", "code"])

__all__ = ["BUFFER_ERRORS", "DROPPED", "HANDSHAKES", "NATIVE", "REFUSED", "NewCounts", "add_counts"]

_COUNTED: Final = {"parley_relay_dropped_total": DROPPED, "parley_relay_handshakes_total": HANDSHAKES}


class NewCounts:
    """What a worker process has counted, for the process whose metrics are asked for."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, ...], int] = {}

    def take(self) -> list[Counts.Metric]:
        """What came since the last call."""
        new: list[Counts.Metric] = []
        for name, counter in _COUNTED.items():
            for sample in (sample for family in counter.collect() for sample in family.samples):
                labels, count = tuple(sample.labels.values()), int(sample.value)
                known = self._told.get((name, *labels), 0)
                if count > known:
                    self._told[name, *labels] = count
                    new.append(Counts.Metric(name=name, labels=labels, count=count - known))
        return new


def add_counts(metrics: Iterable[Counts.Metric]) -> None:
    """Adds what a worker process has counted."""
    for metric in metrics:
        _COUNTED[metric.name].labels(*metric.labels).inc(metric.count)
