"""Redis, as the processes see it: connections, outboxes, and how long what works on it takes."""

from __future__ import annotations

from typing import Final

from tools.dashboards.grafana import RED, Dashboard, Query, Row, lines, quantiles, rates, stat

BOARD: Final = Dashboard(
    "redis", "Redis",
    "Redis as Parley sees it. What the server itself says (memory, persistence, slow commands) comes from an exporter of"
    " its own.",
    (
        Row("At a glance", (
            stat(
                "Connections",
                "Connections to Redis that are up, of all processes.",
                "short", "sum(parley_store_links_connected{@})",
            ),
            stat(
                "Failed connections",
                "Attempts of the last five minutes to connect that failed.",
                "short", 'sum(increase(parley_store_connects_total{@,outcome="failed"}[5m])) or vector(0)',
                thresholds=((1, RED),),
            ),
            stat(
                "Starts that wait",
                "Processes whose start waits for Redis.",
                "short", 'sum(parley_process_waiting{@,what="Redis"}) or vector(0)', thresholds=((1, RED),),
            ),
            stat(
                "In outboxes",
                "Events that wait in Redis for the event bus.",
                "short", "sum(max by (service) (parley_outbox_waiting{@}))", thresholds=((1000, RED),),
            ),
            stat(
                "Bindings",
                "Places at which users are registered.",
                "short", "max(parley_registrar_bindings{@})",
            ),
            stat(
                "Answers 503",
                "Requests a second that clients were answered 503.",
                "reqps", 'sum(rate(parley_frontend_answers_total{@,status="503"}[5m])) or vector(0)',
                thresholds=((1, RED),),
            ),
        )),
        Row("Connections", (
            lines(
                "Connections by pod",
                "Connections to Redis that are up. A process connects to what it needs, when it needs it.",
                "short", Query("sum by (pod) (parley_store_links_connected{@})", "{{pod}}"),
            ),
            rates(
                "Attempts",
                "Connections made a second, and those that failed.",
                "parley_store_connects_total", "outcome", unit="cps",
            ),
            rates(
                "Failed by pod",
                "Attempts a second that failed. One pod alone: its network, or a policy.",
                "parley_store_connects_total", "pod", matchers='outcome="failed"', unit="cps", thresholds=((0.1, RED),),
            ),
        )),
        Row("What works on it", (
            quantiles(
                "Batches",
                "Time to serve a batch of look-ups or updates, by method: 99 of 100 take no longer. Redis is most of it.",
                "parley_rpc_batch_duration_seconds", by="method",
            ),
            quantiles(
                "Unary calls",
                "Time to serve a call, by method: 99 of 100 take no longer.",
                "parley_rpc_call_duration_seconds", by="method",
            ),
            quantiles(
                "Applications",
                "Time to the final answer, by application: 99 of 100 take no longer.",
                "parley_application_duration_seconds", by="application",
            ),
            lines(
                "Batch size",
                "Items that leave together, on average. It grows with load, and that is what it is for.",
                "short",
                Query(
                    "sum by (method) (rate(parley_rpc_batch_size_items_sum{@}[$__rate_interval]))\n"
                    "/ sum by (method) (rate(parley_rpc_batch_size_items_count{@}[$__rate_interval]))",
                    "{{method}}",
                ),
            ),
            rates(
                "Updates of bindings",
                "REGISTER requests a second that were written, by outcome.",
                "parley_registrar_updates_total", "outcome",
            ),
            rates(
                "Look-ups",
                "Look-ups of bindings a second.",
                "parley_registrar_lookups_total", "found",
            ),
        )),
        Row("Outboxes", (
            lines(
                "Waiting",
                "Events that wait in outboxes, by service.",
                "short", Query("max by (service) (parley_outbox_waiting{@})", "{{service}}"), thresholds=((1000, RED),),
            ),
            rates(
                "Relayed",
                "Events a second that went from an outbox to the event bus.",
                "parley_outbox_relayed_total", "service", unit="cps",
            ),
            rates(
                "Given up",
                "Events a second that were given up: too many waited, or they could not be read.",
                "parley_outbox_dropped_total", "service, reason", unit="cps", thresholds=((0.01, RED),),
            ),
        )),
    ),
)  # fmt: skip
