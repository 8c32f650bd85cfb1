"""Presence: how soon others see a change."""

from __future__ import annotations

from typing import Final

from tools.dashboards import objectives
from tools.dashboards.grafana import RED, Dashboard, Query, Row, lines, quantiles, rates, stat

BOARD: Final = Dashboard(
    "presence", "Presence fan-out",
    "From a change of somebody's state to those who watch it.",
    (
        Row("Objective", (
            objectives.PRESENCE,
            stat(
                "Notifications",
                "Notifications sent a second.",
                "reqps", 'sum(rate(parley_presence_notifications_total{@,outcome="sent"}[5m]))',
            ),
            stat(
                "Fan-out p99",
                "99 of 100 notifications of the last five minutes left within this time of the change.",
                "s", "histogram_quantile(0.99, sum by (le) (rate(parley_presence_fanout_seconds_bucket{@}[5m])))",
                thresholds=((2.5, RED),),
            ),
            stat(
                "Not sent",
                "Notifications a second that failed, or whose client was unreachable.",
                "reqps", 'sum(rate(parley_presence_notifications_total{@,outcome=~"failed|unreachable"}[5m]))',
                thresholds=((1, RED),),
            ),
            stat(
                "Not handled",
                "Changes of presence that the presence services have not handled.",
                "short", 'sum(parley_events_lag{@,topic="parley.presence"})', thresholds=((1000, RED),),
            ),
            stat(
                "Watches",
                "Watches by gRPC (`parley presence watch`).",
                "short", "sum(parley_presence_watches{@})",
            ),
        )),
        Row("Notifications", (
            quantiles(
                "Fan-out",
                "Time from a change to the notification of a subscriber; the least time between two notifications "
                "(presence.notify_interval) is in it.",
                "parley_presence_fanout_seconds", thresholds=((2.5, RED),),
            ),
            rates(
                "By event package",
                "Notifications a second.",
                "parley_presence_notifications_total", "event", stacked=True,
            ),
            rates(
                "By outcome",
                "Notifications a second: sent, refused (the client wants no more), unreachable (it is gone), failed.",
                "parley_presence_notifications_total", "outcome",
            ),
        )),
        Row("Requests", (
            rates(
                "Requests to presence",
                "Requests a second that went to the presence service, by method and final status.",
                "parley_application_requests_total", "method, status", matchers='application="presence"',
            ),
            quantiles(
                "Time to the answer",
                "Time to the final answer of each application: 99 of 100 take no longer.",
                "parley_application_duration_seconds", by="application",
            ),
            rates(
                "Refused",
                "Requests a second that the presence service refused.",
                "parley_presence_refused_total", "method, status",
            ),
        )),
        Row("Events behind it", (
            lines(
                "Not handled",
                "Published events that presence has not handled, by topic.",
                "short", Query('sum by (topic) (parley_events_lag{@,group="presence"})', "{{topic}}"),
                thresholds=((1000, RED),),
            ),
            quantiles(
                "Delay of events",
                "Time from the publication of an event until it is handled, by topic: 99 of 100 take no longer.",
                "parley_events_delay_seconds", by="topic",
            ),
            rates(
                "Imported contacts",
                "Contacts a second of imports of contact lists.",
                "parley_presence_contacts_imported_total", "outcome",
            ),
        )),
    ),
)  # fmt: skip
