"""Calls: whether they can be set up, how soon a phone rings, how they end."""

from __future__ import annotations

from typing import Final

from tools.dashboards import objectives
from tools.dashboards.grafana import RED, Dashboard, Query, Row, lines, quantiles, rates, stat

BOARD: Final = Dashboard(
    "calls", "Call set-up",
    "Calls from the INVITE to their end, and the ways between processes that they take.",
    (
        Row("Objective", (
            objectives.CALLS,
            stat(
                "Calls",
                "Calls that ring or go on.",
                "short", "sum(parley_frontend_calls{@})",
            ),
            stat(
                "Set-ups",
                "Calls a second whose set-up is over, however it ended.",
                "cps", "sum(rate(parley_frontend_call_setups_total{@}[5m]))",
            ),
            stat(
                "Answered",
                "Share of the calls of the last hour that somebody answered.",
                "percentunit",
                'sum(rate(parley_frontend_call_setups_total{@,outcome="answered"}[1h]))\n'
                "/ sum(rate(parley_frontend_call_setups_total{@}[1h]))",
            ),
            stat(
                "Rings within",
                "95 of 100 calls of the last hour ring within this time.",
                "s", "histogram_quantile(0.95, sum by (le) (rate(parley_frontend_call_setup_seconds_bucket{@}[1h])))",
                thresholds=((2, RED),),
            ),
            stat(
                "Facts lost",
                "Events of calls of the last day that were given up.",
                "short", "sum(increase(parley_frontend_facts_lost_total{@}[1d]))", thresholds=((1, RED),),
            ),
        )),
        Row("Calls", (
            rates(
                "Set-ups by outcome",
                "Calls a second: answered, unanswered (busy, declined, cancelled, nobody there), failed (430 and 5xx: a "
                "flow or a service was gone).",
                "parley_frontend_call_setups_total", "outcome", unit="cps", stacked=True,
            ),
            quantiles(
                "Time until a phone rings",
                "From an INVITE until a phone rings or answers; the phone's own time is in it.",
                "parley_frontend_call_setup_seconds", thresholds=((2, RED),),
            ),
            rates(
                "Ends by cause",
                "Calls a second that ended. `lost`: no BYE ever came.",
                "parley_frontend_calls_ended_total", "cause", unit="cps",
            ),
            lines(
                "Calls by front end",
                "Calls that ring or go on, by the front end of the caller.",
                "short", Query("sum by (pod) (parley_frontend_calls{@})", "{{pod}}"), stacked=True,
            ),
            rates(
                "Answers to INVITE",
                "Final answers a second by status; those in calls that go on (hold) are in it.",
                "parley_frontend_answers_total", "status", matchers='method="INVITE"',
            ),
            rates(
                "Errors by method",
                "Final answers with 5xx a second.",
                "parley_frontend_answers_total", "method, status", matchers='status=~"5.."', thresholds=((1, RED),),
            ),
        )),
        Row("Between processes", (
            rates(
                "Batched calls",
                "Items a second of batched gRPC calls, by method and outcome: look-ups, updates, deliveries.",
                "parley_rpc_batch_items_total", "method, outcome",
            ),
            quantiles(
                "Time of batches",
                "Time to serve a batch, by method: 99 of 100 take no longer.",
                "parley_rpc_batch_duration_seconds", by="method",
            ),
            rates(
                "Requests to applications",
                "Requests a second that went to presence, messages and conferences, by final status.",
                "parley_application_requests_total", "application, status",
            ),
        )),
    ),
)  # fmt: skip
