"""How the whole installation does, on one page."""

from __future__ import annotations

from typing import Final

from tools.dashboards import objectives
from tools.dashboards.grafana import GREEN, RED, YELLOW, Dashboard, Query, Row, lines, quantiles, rates, stat

BOARD: Final = Dashboard(
    "overview", "Overview",
    "Whether people can sign in, call and see each other, and what is in the way when not.",
    (
        Row("Objectives, last hour", (
            objectives.SIGN_INS,
            objectives.SIGN_IN_TIME,
            objectives.CALLS,
            objectives.PRESENCE,
            objectives.RELAY,
            stat(
                "Processes that take work",
                "Share of the processes seen that are ready.",
                "percentunit", "avg(parley_process_ready{@})", lowest=RED, thresholds=((0.5, YELLOW), (1, GREEN)),
            ),
        )),
        Row("What goes on", (
            stat(
                "Bindings",
                "Places at which users are registered, as of the last sweep of a registrar.",
                "short", "max(parley_registrar_bindings{@})",
            ),
            stat(
                "Flows",
                "Connections and UDP associations of clients, at all front ends.",
                "short", "sum(parley_frontend_flows{@})",
            ),
            stat(
                "Calls",
                "Calls that ring or go on.",
                "short", "sum(parley_frontend_calls{@})",
            ),
            stat(
                "Allocations",
                "Allocations that are open at the relay.",
                "short", "sum(parley_relay_allocations{@})",
            ),
            stat(
                "Messages received",
                "SIP messages a second that front ends receive.",
                "reqps", "sum(rate(parley_frontend_messages_total{@}[5m]))",
            ),
            stat(
                "HTTPS connections",
                "Connections to the web service.",
                "short", "sum(parley_web_connections{@})",
            ),
        )),
        Row("Answers", (
            rates(
                "Messages received by method",
                "SIP messages a second from clients; `response` are answers of theirs.",
                "parley_frontend_messages_total", "method", stacked=True,
            ),
            rates(
                "Errors by status",
                "Final answers with 5xx a second. 503: a service is away, or a limit refuses.",
                "parley_frontend_answers_total", "status", matchers='status=~"5.."', thresholds=((1, RED),),
            ),
            rates(
                "Refused by limits",
                "What limits of the front ends refuse a second; see the runbook of ParleyLimitsRefuse.",
                "parley_frontend_limited_total", "limit",
            ),
        )),
        Row("What it stands on", (
            rates(
                "Redis: failed connections",
                "Attempts a second to connect to Redis that fail, by pod. Any that last are bad.",
                "parley_store_connects_total", "pod", matchers='outcome="failed"', unit="cps", thresholds=((0.1, RED),),
            ),
            lines(
                "Events not handled",
                "Published events that groups of consumers have not handled, by topic and group.",
                "short", Query("sum by (topic, group) (parley_events_lag{@})", "{{topic}} {{group}}"),
                thresholds=((1000, RED),),
            ),
            lines(
                "Events that wait",
                "In outboxes in Redis by service, and in memory of all processes.",
                "short", Query("max by (service) (parley_outbox_waiting{@})", "outbox {{service}}"),
                Query("sum(parley_events_waiting{@})", "in memory"), thresholds=((1000, RED),),
            ),
            lines(
                "CPU by component",
                "Cores used. A process uses one core at most, so a full one answers late.",
                "short",
                Query(
                    "max by (component, pod) (rate(process_cpu_seconds_total{@}[$__rate_interval]))",
                    "{{component}} {{pod}}",
                ),
                thresholds=((0.9, RED),),
            ),
            lines(
                "Memory by pod",
                "Resident memory of the processes.",
                "bytes", Query("sum by (pod) (process_resident_memory_bytes{@})", "{{pod}}"),
            ),
            quantiles(
                "Time to sign in",
                "From a REGISTER to the answer that it is registered.",
                "parley_frontend_register_seconds", thresholds=((0.5, RED),),
            ),
        )),
    ),
)  # fmt: skip
