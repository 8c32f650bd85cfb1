"""Reads what /metrics says (the Prometheus text format)."""

from __future__ import annotations

import re


def metric_in(text: str, name: str, **labels: str) -> float:
    """The sum of a metric over the series that have those labels."""
    total = 0.0
    for line in text.splitlines():
        found = re.match(rf"{name}(?:\{{(.*)\}})? (\S+)$", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            total += float(found[2])
    return total
