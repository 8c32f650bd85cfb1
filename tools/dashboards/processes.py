"""Processes: whether they run, what they use, how they talk to each other, and when their certificates end."""

from __future__ import annotations

from typing import Final

from tools.dashboards.grafana import GREEN, RED, YELLOW, Dashboard, Query, Row, lines, quantiles, rates, stat

_CERTIFICATE: Final = "parley_tls_certificate_expires_timestamp_seconds{@}"

BOARD: Final = Dashboard(
    "processes", "Processes",
    "All processes of the installation, whatever services they run.",
    (
        Row("At a glance", (
            stat(
                "Processes",
                "Processes that Prometheus reaches.",
                "short", "sum(up{@})",
            ),
            stat(
                "Not ready",
                "Processes that take no work: they start, or drain.",
                "short", "sum(1 - parley_process_ready{@})", thresholds=((1, YELLOW),),
            ),
            stat(
                "Starts that wait",
                "Processes whose start waits for Redis or the event bus.",
                "short", "sum(parley_process_waiting{@}) or vector(0)", thresholds=((1, RED),),
            ),
            stat(
                "Failed tasks",
                "Background tasks of the last day that ended with an error.",
                "short", "sum(increase(parley_process_failed_tasks_total{@}[1d])) or vector(0)", thresholds=((1, RED),),
            ),
            stat(
                "First certificate to end",
                "Time that is left of the certificate that ends first.",
                "s", f"min({_CERTIFICATE}) - time()", lowest=RED, thresholds=((3 * 86400, YELLOW), (14 * 86400, GREEN)),
            ),
            stat(
                "Versions",
                "Processes by version.",
                "short", "count by (version) (parley_build_info{@})", legend="{{version}}",
            ),
        )),
        Row("What they use", (
            lines(
                "CPU",
                "Cores used. A process uses one core at most; the relay's workers are processes of their own.",
                "short", Query("sum by (pod) (rate(process_cpu_seconds_total{@}[$__rate_interval]))", "{{pod}}"),
                thresholds=((0.9, RED),),
            ),
            lines(
                "Memory",
                "Resident memory.",
                "bytes", Query("sum by (pod) (process_resident_memory_bytes{@})", "{{pod}}"),
            ),
            lines(
                "Open files",
                "File descriptors, connections among them, as a share of what is allowed.",
                "percentunit", Query("max by (pod) (process_open_fds{@} / process_max_fds{@})", "{{pod}}"),
                thresholds=((0.8, RED),),
            ),
            lines(
                "Ready",
                "1 while every service of a process takes work.",
                "short", Query("min by (pod) (parley_process_ready{@})", "{{pod}}"), most=1,
            ),
            lines(
                "Age",
                "Time since a process began.",
                "s", Query("time() - max by (pod) (process_start_time_seconds{@})", "{{pod}}"),
            ),
            rates(
                "Failed tasks",
                "Background tasks a second that ended with an error.",
                "parley_process_failed_tasks_total", "pod, task", unit="cps", thresholds=((0.001, RED),),
            ),
        )),
        Row("gRPC", (
            rates(
                "Calls served",
                "Unary calls a second by method and code.",
                "parley_rpc_calls_total", "method, code",
            ),
            rates(
                "Calls made",
                "Unary calls a second to other processes that did not end well, by method and code.",
                "parley_rpc_client_calls_total", "method, code", matchers='code!="OK"', thresholds=((1, RED),),
            ),
            quantiles(
                "Time of calls",
                "Time to serve a unary call, by method: 99 of 100 take no longer.",
                "parley_rpc_call_duration_seconds", by="method",
            ),
            rates(
                "Batched calls",
                "Items a second by method and outcome.",
                "parley_rpc_batch_items_total", "method, outcome",
            ),
            quantiles(
                "Time of batches",
                "Time to serve a batch, by method: 99 of 100 take no longer.",
                "parley_rpc_batch_duration_seconds", by="method",
            ),
            lines(
                "Certificates",
                "Time that is left of each certificate, by its file.",
                "s", Query(f"min by (file) ({_CERTIFICATE}) - time()", "{{file}}"),
            ),
        )),
        Row("HTTPS", (
            rates(
                "Requests",
                "Requests a second to the web service, by route and status.",
                "parley_web_requests_total", "route, status",
            ),
            lines(
                "Connections",
                "Connections to the web service, by pod.",
                "short", Query("sum by (pod) (parley_web_connections{@}) > 0", "{{pod}}"),
            ),
            rates(
                "Refused by limits",
                "Requests and connections a second.",
                "parley_web_limited_total", "limit",
            ),
        )),
    ),
)  # fmt: skip
