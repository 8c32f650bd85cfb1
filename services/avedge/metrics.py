"""Metrics of the edge that several of its modules count."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from parley.platform.telemetry.counters import FastCounter

DROPPED: Final = FastCounter("parley_relay_dropped_total", "What came and was thrown away, by cause", ["cause"])
HANDSHAKES: Final = FastCounter("parley_relay_handshakes_total", "TLS, DTLS and pseudo-TLS handshakes", ["kind", "outcome"])
NATIVE: Final = Gauge("parley_relay_native", "1 when the native packet path moves packets, 0 when Python does")
REFUSED: Final = Counter("parley_relay_refused_total", "Requests refused, by method and code", ["dialect", "method", "code"])
