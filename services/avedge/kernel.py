"""What the kernel counts of datagrams that never reached the edge."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class BufferErrors(Collector):
    """Datagrams that the kernel threw away because a receive buffer was full, on this machine (RcvbufErrors)."""

    def __init__(self, folder: Path = Path("/proc/net"), registry: CollectorRegistry = REGISTRY) -> None:
        self._folder = folder
        registry.register(self)

    def collect(self) -> list[CounterMetricFamily]:
        """The number of each family."""
        family = CounterMetricFamily(
            "parley_relay_receive_buffer_errors_total",
            "Datagrams lost to full receive buffers in this network namespace", labels=["family"],
        )  # fmt: skip
        for name, file in (("ipv4", "snmp"), ("ipv6", "snmp6")):
            value = _buffer_errors(self._folder / file)
            if value is not None:
                family.add_metric([name], value)
        return [family]

    def describe(self) -> list[CounterMetricFamily]:
        """The name, for the registry's check against duplicates."""
        return [CounterMetricFamily("parley_relay_receive_buffer_errors_total", "", labels=["family"])]


def _buffer_errors(path: Path) -> int | None:
    """RcvbufErrors of /proc/net/snmp or snmp6; None where the system has none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    rows = [line.split() for line in lines if line.startswith("Udp")]
    for row in rows:
        if row[0] == "Udp6RcvbufErrors":
            return int(row[1])
    head, values = (row for row in rows if row[0] == "Udp:") if sum(row[0] == "Udp:" for row in rows) == 2 else ([], [])
    return int(values[head.index("RcvbufErrors")]) if "RcvbufErrors" in head else None


BUFFER_ERRORS: Final = BufferErrors()
"""Registered once for the process."""
