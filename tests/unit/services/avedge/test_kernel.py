"""Counters of the kernel."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from services.avedge.kernel import BufferErrors

SNMP = """Ip: Forwarding DefaultTTL
Ip: 1 64
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
Udp: 100 2 3 90 17 0
UdpLite: InDatagrams RcvbufErrors
UdpLite: 0 99
"""


def test_both_families(tmp_path: Path) -> None:
    (tmp_path / "snmp").write_text(SNMP)
    (tmp_path / "snmp6").write_text("Udp6InErrors    \t4\nUdp6RcvbufErrors \t5\n")
    registry = CollectorRegistry()
    BufferErrors(tmp_path, registry)
    name = "parley_relay_receive_buffer_errors_total"
    assert registry.get_sample_value(name, {"family": "ipv4"}) == 17
    assert registry.get_sample_value(name, {"family": "ipv6"}) == 5


def test_a_system_without_them(tmp_path: Path) -> None:
    (tmp_path / "snmp").write_text("Udp: InDatagrams\nUdp: 3\n")
    assert [metric.samples for metric in BufferErrors(tmp_path, CollectorRegistry()).collect()] == [[]]
