"""What a query of Prometheus names: metrics, with the labels that are matched on each, and labels to group by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from prometheus_client import REGISTRY

TARGET_LABELS: Final = frozenset({"job", "namespace", "release", "component", "pod", "instance"})
"""What Prometheus puts beside the labels of every metric of a process."""
FROM_OTHERS: Final = frozenset({"up"})
"""What Prometheus makes itself."""
_SUFFIXES: Final = ("_bucket", "_count", "_sum")
_SELECTOR: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")
_MATCHER: Final = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*\"")
_GROUPING: Final = re.compile(r"\bby \(([^)]*)\)")
_MADE: Final = re.compile(r"label_replace\(.*\"(\w+)\", \"[^\"]*\", \"[^\"]*\", \"[^\"]*\"\)", re.DOTALL)


@dataclass(frozen=True)
class Named:
    """What one query names."""

    selectors: tuple[tuple[str, frozenset[str]], ...]
    """Metrics, and the labels matched on them."""
    groupings: frozenset[str]
    made: frozenset[str]
    """Labels that the query makes itself."""

    @property
    def metrics(self) -> set[str]:
        """Their names, as they are asked for."""
        return {name for name, _ in self.selectors}


def named_in(expression: str) -> Named:
    """Reads a query. Every metric in it has to have a selector, also an empty one."""
    selectors = tuple(
        (name, frozenset(_MATCHER.findall(matchers))) for name, matchers in _SELECTOR.findall(expression)
    )  # fmt: skip
    groupings = frozenset(label.strip() for labels in _GROUPING.findall(expression) for label in labels.split(","))
    return Named(selectors, groupings, frozenset(_MADE.findall(expression)))


def family(metric: str) -> str:
    """The name of a histogram for those of its parts."""
    return next((metric.removesuffix(suffix) for suffix in _SUFFIXES if metric.endswith(suffix)), metric)


def labels_by_metric() -> dict[str, frozenset[str]]:
    """Labels of every metric of ours that this process has a collector of."""
    known: dict[str, frozenset[str]] = {}
    for collector, names in list(REGISTRY._collector_to_names.items()):
        labels = getattr(collector, "_labelnames", None)
        if labels is None:
            samples = [sample for metric in collector.collect() for sample in metric.samples]
            labels = {label for sample in samples for label in sample.labels}
        known |= {name: frozenset(labels) for name in names if name.startswith("parley_")}
    return known
