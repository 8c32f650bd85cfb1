"""Messages, and the chats of conferences."""

from __future__ import annotations

from typing import Final

from tools.dashboards.grafana import RED, Dashboard, Row, quantiles, rates, stat

BOARD: Final = Dashboard(
    "messages", "Messages and conferences",
    "Instant messages from one to one and in conferences, and what became of them.",
    (
        Row("At a glance", (
            stat(
                "Single messages",
                "Messages of phones and others a second, whatever became of them.",
                "reqps", "sum(rate(parley_messaging_pages_total{@}[5m]))",
            ),
            stat(
                "In sessions",
                "Messages a second in sessions of Communicator clients.",
                "reqps", "sum(rate(parley_messaging_spoken_total{@}[5m]))",
            ),
            stat(
                "Reached nobody",
                "Messages of the last hour that reached nobody.",
                "short", "sum(increase(parley_messaging_undelivered_total{@}[1h]))",
            ),
            stat(
                "No room",
                "Messages of the last hour for which the store of kept messages had no room.",
                "short", 'sum(increase(parley_messaging_undelivered_total{@,reason="store_full"}[1h]))',
                thresholds=((1, RED),),
            ),
            stat(
                "In conferences",
                "Messages a second that went to everybody of a conference.",
                "reqps", "sum(rate(parley_immcu_messages_total{@}[5m]))",
            ),
            stat(
                "Not delivered",
                "Deliveries a second in conferences that failed.",
                "reqps", 'sum(rate(parley_immcu_deliveries_total{@,outcome="failed"}[5m]))', thresholds=((1, RED),),
            ),
        )),
        Row("Messages", (
            rates(
                "Single messages",
                "Messages a second by outcome; `stored` ones are kept until somebody signs in.",
                "parley_messaging_pages_total", "outcome", stacked=True,
            ),
            rates(
                "In sessions",
                "Messages a second in sessions, by outcome.",
                "parley_messaging_spoken_total", "outcome", stacked=True,
            ),
            rates(
                "Kept messages",
                "What became of messages that were kept, a second.",
                "parley_messaging_kept_total", "outcome",
            ),
            rates(
                "Reached nobody",
                "Messages a second, by reason.",
                "parley_messaging_undelivered_total", "reason",
            ),
            rates(
                "Reports",
                "Delivery reports made a second.",
                "parley_messaging_reports_total", "report",
            ),
            rates(
                "Refused",
                "Requests a second that the messaging service refused.",
                "parley_messaging_refused_total", "method, status",
            ),
            rates(
                "Sessions begun",
                "Sessions a second, by who began them.",
                "parley_messaging_sessions_opened_total", "by", unit="cps",
            ),
            rates(
                "Sessions ended",
                "Sessions a second, by why they ended.",
                "parley_messaging_sessions_ended_total", "cause", unit="cps",
            ),
        )),
        Row("Conferences", (
            quantiles(
                "Fan-out",
                "Time from a change of a conference to the notification of a participant.",
                "parley_conference_fanout_seconds", thresholds=((2.5, RED),),
            ),
            rates(
                "Notifications",
                "Notifications of conferences a second, by outcome.",
                "parley_conference_notifications_total", "outcome",
            ),
            rates(
                "Refused",
                "Requests a second that factories and foci refused.",
                "parley_conference_refused_total", "method, status",
            ),
            quantiles(
                "Time to the last participant",
                "From a message to the answer of the last participant.",
                "parley_immcu_relay_seconds", thresholds=((2.5, RED),),
            ),
            rates(
                "Deliveries",
                "Messages a second brought to single participants.",
                "parley_immcu_deliveries_total", "outcome",
            ),
            rates(
                "Refused by the chat",
                "Requests a second that the chat of a conference refused.",
                "parley_immcu_refused_total", "method, status",
            ),
        )),
    ),
)  # fmt: skip
