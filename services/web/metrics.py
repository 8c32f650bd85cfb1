"""What the HTTP services count."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

REQUESTS: Final = Counter("parley_web_requests_total", "Requests answered, by route and status", ["route", "status"])
SIGN_INS: Final = Counter("parley_web_sign_ins_total", "Sign-ins over HTTP, by scheme and outcome", ["scheme", "outcome"])
CERTIFICATES: Final = Counter("parley_web_certificates_total", "Requests for certificates, by outcome", ["outcome"])
CONNECTIONS: Final = Gauge("parley_web_connections", "Open connections")
KEY_FETCHES: Final = Counter("parley_web_key_fetches_total", "Fetches of the keys of token issuers, by outcome", ["outcome"])
DOWNLOADS: Final = Counter("parley_web_downloads_total", "Files sent, by area and outcome", ["area", "outcome"])
DEVICE_REQUESTS: Final = Counter(
    "parley_web_device_requests_total", "Requests of devices over HTTP, by outcome", ["outcome"]
)
_REFUSED: Final = Counter("parley_web_limited_total", "Requests and connections refused by a limit", ["limit"])


def refused(limit: str) -> None:
    """Counts something that a limit refused."""
    _REFUSED.labels(limit).inc()
