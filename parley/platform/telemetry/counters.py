"""Counters and histograms for paths where a lock for each count would show in a profile.

prometheus_client takes a mutex for every increment. Those here are plain numbers, for the thread of the event loop
alone, and are read when somebody asks for the metrics. Elsewhere use `prometheus_client.Counter` and `Histogram`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Cell:
    """One labelled number."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: int = 0

    def inc(self, amount: int = 1) -> None:
        """Adds; only in the thread of the event loop."""
        self.value += amount


class FastCounter(Collector):
    """A counter by labels, shown as the one of prometheus_client with the same arguments."""

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str], registry: CollectorRegistry = REGISTRY
    ) -> None:
        """``name`` ends in "_total". Raises ValueError when there is such a metric already."""
        self._name: str = name
        self._documentation: str = documentation
        self._labelnames: tuple[str, ...] = tuple(labelnames)
        self._cells: dict[tuple[str, ...], Cell] = {}
        registry.register(self)

    def labels(self, *values: str) -> Cell:
        """The number of these labels; keep it, and count with it. Raises ValueError for another number of labels."""
        if len(values) != len(self._labelnames):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labelnames)}")
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = Cell()
        return cell

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The name, for the registry's check against duplicates."""
        yield CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """All numbers as they are now."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, cell in list(self._cells.items()):
            family.add_metric(values, cell.value)
        yield family


class FastHistogram(Collector):
    """A histogram without labels, shown as the one of prometheus_client with the same arguments."""

    def __init__(
        self, name: str, documentation: str, buckets: Sequence[float], registry: CollectorRegistry = REGISTRY
    ) -> None:
        """``buckets``: upper bounds, ascending, without the infinite one. Raises ValueError when there is such a metric."""
        self._name: str = name
        self._documentation: str = documentation
        self._bounds: list[float] = [float(bound) for bound in buckets]
        self._counts: list[int] = [0] * (len(self._bounds) + 1)
        self._sum: float = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Counts a value; only in the thread of the event loop."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The name, for the registry's check against duplicates."""
        yield HistogramMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """How many values lie at or below each bound, and their sum."""
        cumulated, buckets = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            cumulated += count
            buckets.append((bound, float(cumulated)))
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric((), buckets, self._sum)
        yield family
