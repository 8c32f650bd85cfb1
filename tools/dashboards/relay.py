"""The A/V edge: allocations, packets, what is lost."""

from __future__ import annotations

from typing import Final

from tools.dashboards import objectives
from tools.dashboards.grafana import GREEN, RED, Dashboard, Query, Row, lines, rates, stat

BOARD: Final = Dashboard(
    "relay", "Relay",
    "The relay of voice and video: who uses it, what it refuses, where packets are lost.",
    (
        Row("At a glance", (
            objectives.RELAY,
            stat(
                "Allocations",
                "Allocations that are open.",
                "short", "sum(parley_relay_allocations{@})",
            ),
            stat(
                "Connections",
                "TCP connections of clients.",
                "short", "sum(parley_relay_connections{@})",
            ),
            stat(
                "Reached",
                "Least outcome of the edges' tests of themselves: 0 when one does not reach itself by its address.",
                "short", "min(parley_relay_self_test{@})", lowest=RED, thresholds=((1, GREEN),),
            ),
            stat(
                "Lost to full queues",
                "Packets a second that the relay threw away because a queue was full.",
                "pps",
                'sum(rate(parley_relay_dropped_total{@,cause=~"relay_send_queue|client_send_queue|control_queue|slow_reader"}[5m]))',
                thresholds=((10, RED),),
            ),
            stat(
                "Workers lost",
                "Worker processes of the last day that died.",
                "short", "sum(increase(parley_relay_workers_lost_total{@}[1d]))", thresholds=((1, RED),),
            ),
        )),
        Row("Allocations", (
            lines(
                "Open",
                "Allocations by dialect and transport of the client.",
                "short", Query("sum by (dialect, transport) (parley_relay_allocations{@})", "{{dialect}} {{transport}}"),
                stacked=True,
            ),
            rates(
                "Requests",
                "Requests for an allocation a second: granted, refused (a fault of the client, or a quota), failed.",
                "parley_relay_allocation_requests_total", "outcome",
            ),
            rates(
                "Ended",
                "Allocations a second by reason; `expired` clients went away without a word.",
                "parley_relay_allocations_closed_total", "reason", unit="cps",
            ),
            rates(
                "Refused",
                "Requests refused a second by method and code. 401 and 438 are the usual challenges, 486 a quota, 508 no"
                " port or a drain, 0 got no answer.",
                "parley_relay_refused_total", "method, code",
            ),
            lines(
                "Begun and prolonged",
                "Allocations a second.",
                "cps", Query("sum(rate(parley_relay_allocations_opened_total{@}[$__rate_interval]))", "begun"),
                Query("sum(rate(parley_relay_refreshes_total{@}[$__rate_interval]))", "prolonged"),
            ),
            lines(
                "By edge",
                "Allocations that are open, by pod.",
                "short", Query("sum by (pod) (parley_relay_allocations{@})", "{{pod}}"), stacked=True,
            ),
        )),
        Row("Packets", (
            rates(
                "Payload",
                "Bytes a second, counted when an allocation ends.",
                "parley_relay_bytes_total", "direction", unit="Bps",
            ),
            rates(
                "Packets",
                "Packets a second, counted when an allocation ends; `dropped` met a limit of the allocation.",
                "parley_relay_packets_total", "direction", unit="pps",
            ),
            rates(
                "Thrown away",
                "What came and was thrown away, a second by cause. Queues and slow_reader hurt media, garbage does not.",
                "parley_relay_dropped_total", "cause", unit="pps",
            ),
            rates(
                "Full receive buffers",
                "Datagrams a second that the kernel had no room for; raise net.core.rmem_max.",
                "parley_relay_receive_buffer_errors_total", "pod, family", unit="pps", thresholds=((1, RED),),
            ),
            rates(
                "Handshakes",
                "TLS and DTLS handshakes a second, by outcome.",
                "parley_relay_handshakes_total", "kind, outcome", unit="cps",
            ),
            lines(
                "Connections",
                "TCP connections of clients, by pod and worker.",
                "short", Query("sum by (pod, worker) (parley_relay_connections{@})", "{{pod}} {{worker}}"),
            ),
        )),
        Row("Edges", (
            lines(
                "Reached by its address",
                "1 when an edge reached itself by the address that it tells clients, after its start.",
                "short", Query("min by (pod, host) (parley_relay_self_test{@})", "{{pod}} {{host}}"), most=1,
            ),
            lines(
                "Native packet path",
                "1 when packets of clients on UDP are moved by native code.",
                "short", Query('max by (pod) (parley_relay_native{@,component=~"avedge|edge|"})', "{{pod}}"), most=1,
            ),
            lines(
                "Workers",
                "Worker processes that serve clients; none where one process does all.",
                "short", Query("max by (pod) (parley_relay_workers{@}) > 0", "{{pod}}"),
            ),
            rates(
                "Credentials",
                "Credentials issued a second, for Communicator clients (mras) and others (turn).",
                "parley_edge_credentials_issued_total", "kind",
            ),
            rates(
                "Requests for credentials",
                "Requests over SIP a second, by what they were told.",
                "parley_edge_mras_requests_total", "answer",
            ),
            rates(
                "Events lost",
                "Events of allocations a second that were given up, as the event bus was away too long.",
                "parley_relay_facts_lost_total", "pod", unit="cps", thresholds=((0.01, RED),),
            ),
        )),
    ),
)  # fmt: skip
