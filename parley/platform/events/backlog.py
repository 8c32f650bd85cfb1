"""How far subscriptions are behind, as metrics.

Each subscription keeps one `Backlog` and says now and then how many published events it has not handled. The number is
that of this process alone: the partitions that it reads. It is gone with the subscription, so a process that has left a
group does not go on telling an old number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from weakref import WeakSet

from prometheus_client import REGISTRY, CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_READ_FAILURES: Final = Counter("parley_events_read_failures_total", "Times that a topic could not be read", ["topic"])


class _Lag(Collector):
    """The events not handled, by topic and group; subscriptions of one process that share both are added up."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.backlogs: WeakSet[Backlog] = WeakSet()
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The name, for the registry's check against duplicates."""
        yield self._family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The numbers as they were last told."""
        sums: dict[tuple[str, str], int] = {}
        for backlog in list(self.backlogs):
            key = (backlog.topic, backlog.group)
            if backlog.events is not None:
                sums[key] = sums.get(key, 0) + backlog.events
        family = self._family()
        for labels, events in sorted(sums.items()):
            family.add_metric(labels, events)
        yield family

    @staticmethod
    def _family() -> GaugeMetricFamily:
        text = "Published events that a subscription has not handled, by topic and group"
        return GaugeMetricFamily("parley_events_lag", text, labels=["topic", "group"])


_LAG: Final = _Lag()


class Backlog:
    """That of one subscription."""

    def __init__(self, topic: str, group: str | None) -> None:
        self.topic = topic
        self.group = group or ""
        self.events: int | None = None
        """Published and not handled; None while nobody knows."""
        self._failures = _READ_FAILURES.labels(topic)
        _LAG.backlogs.add(self)

    def cannot_read(self) -> None:
        """The topic could not be read; it will be tried again."""
        self._failures.inc()

    def close(self) -> None:
        """The subscription ended."""
        _LAG.backlogs.discard(self)
