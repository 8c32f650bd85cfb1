"""What limits refuse here, counted."""

from __future__ import annotations

from prometheus_client import Counter

_REFUSED = Counter("parley_frontend_limited_total", "Messages and connections refused by a limit", ["limit"])


def refused(limit: str) -> None:
    """Counts something that a limit refused."""
    _REFUSED.labels(limit).inc()
