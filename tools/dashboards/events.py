"""The event bus, Kafka or Redis Streams: what is published, handled, late, lost."""

from __future__ import annotations

from typing import Final

from tools.dashboards.grafana import RED, Dashboard, Query, Row, lines, quantiles, rates, stat

BOARD: Final = Dashboard(
    "events", "Kafka and events",
    "Facts that services tell each other, over Kafka or Redis Streams.",
    (
        Row("At a glance", (
            stat(
                "Published",
                "Events a second that the bus took.",
                "cps", 'sum(rate(parley_events_published_total{@,outcome="ok"}[5m]))',
            ),
            stat(
                "Not published",
                "Events of the last five minutes that the bus did not take; they are tried again.",
                "short", 'sum(increase(parley_events_published_total{@,outcome="failed"}[5m])) or vector(0)',
                thresholds=((1, RED),),
            ),
            stat(
                "Not handled",
                "Published events that groups of consumers have not handled.",
                "short", 'sum(parley_events_lag{@,group!=""})', thresholds=((1000, RED),),
            ),
            stat(
                "Delay p99",
                "99 of 100 events of the last five minutes were handled within this time.",
                "s", "histogram_quantile(0.99, sum by (le) (rate(parley_events_delay_seconds_bucket{@}[5m])))",
                thresholds=((5, RED),),
            ),
            stat(
                "Waiting",
                "Events that wait in memory and in outboxes for a bus that is away.",
                "short", "sum(parley_events_waiting{@}) + sum(max by (service) (parley_outbox_waiting{@}))",
                thresholds=((100, RED),),
            ),
            stat(
                "Given up",
                "Events of the last day of which nothing could be made after five tries, or that no one could read.",
                "short", 'sum(increase(parley_events_handled_total{@,outcome=~"dead|undecodable"}[1d])) or vector(0)',
                thresholds=((1, RED),),
            ),
        )),
        Row("Consumers", (
            lines(
                "Lag by topic and group",
                "Published events that a group has not handled. Without group: readers of everything.",
                "short", Query("sum by (topic, group) (parley_events_lag{@})", "{{topic}} {{group}}"),
                thresholds=((1000, RED),),
            ),
            lines(
                "Lag by pod",
                "The same, by the pod that reads the partitions. One pod alone: it is slow, or stuck.",
                "short", Query("sum by (pod) (parley_events_lag{@})", "{{pod}}"),
            ),
            quantiles(
                "Delay",
                "Time from the publication of an event until it is handled, by topic: 99 of 100 take no longer.",
                "parley_events_delay_seconds", by="topic", thresholds=((5, RED),),
            ),
            rates(
                "Handled",
                "Events a second by topic and outcome: ok, failed (tried again), dead (given up), undecodable.",
                "parley_events_handled_total", "topic, outcome", unit="cps",
            ),
            rates(
                "Failures to read",
                "Times a second that a topic could not be read.",
                "parley_events_read_failures_total", "topic", unit="cps", thresholds=((0.1, RED),),
            ),
            rates(
                "Given up",
                "Events a second that went to the topic NAME.dead, or that no one could read.",
                "parley_events_handled_total", "topic, outcome", matchers='outcome=~"dead|undecodable"', unit="cps",
                thresholds=((0.01, RED),),
            ),
        )),
        Row("Publishers", (
            rates(
                "Published",
                "Events a second by topic.",
                "parley_events_published_total", "topic", matchers='outcome="ok"', unit="cps", stacked=True,
            ),
            rates(
                "Not published",
                "Events a second that the bus did not take, by topic.",
                "parley_events_published_total", "topic", matchers='outcome="failed"', unit="cps",
                thresholds=((0.1, RED),),
            ),
            lines(
                "Waiting in memory",
                "Events of front ends and edges that wait for the bus; of more than 10000 the oldest go.",
                "short", Query("sum by (pod) (parley_events_waiting{@})", "{{pod}}"), thresholds=((100, RED),),
            ),
            lines(
                "Waiting in outboxes",
                "Events that wait in Redis, by service.",
                "short", Query("max by (service) (parley_outbox_waiting{@})", "{{service}}"), thresholds=((1000, RED),),
            ),
            lines(
                "Lost",
                "Events a second that were given up as too many waited.",
                "cps", Query("sum(rate(parley_frontend_facts_lost_total{@}[$__rate_interval]))", "calls"),
                Query("sum(rate(parley_relay_facts_lost_total{@}[$__rate_interval]))", "relay"),
                Query("sum by (service) (rate(parley_outbox_dropped_total{@}[$__rate_interval]))", "outbox {{service}}"),
                thresholds=((0.01, RED),),
            ),
            rates(
                "Relayed from outboxes",
                "Events a second.",
                "parley_outbox_relayed_total", "service", unit="cps",
            ),
        )),
    ),
)  # fmt: skip
