"""What the metrics tell of how far subscriptions are behind."""

from __future__ import annotations

from secrets import token_hex

from prometheus_client import REGISTRY

from parley.platform.events.backlog import Backlog


def lag(topic: str, group: str) -> float | None:
    return REGISTRY.get_sample_value("parley_events_lag", {"topic": topic, "group": group})


def test_subscriptions_are_added_up_until_they_end() -> None:
    topic = token_hex(4)
    mine, same, all_of_it = Backlog(topic, "g"), Backlog(topic, "g"), Backlog(topic, None)
    mine.events, same.events, all_of_it.events = 3, 4, 1
    assert (lag(topic, "g"), lag(topic, "")) == (7, 1)
    same.close()
    assert lag(topic, "g") == 3
    mine.close()
    assert lag(topic, "g") is None
    assert lag(topic, "") == 1
    all_of_it.close()
    assert lag(topic, "") is None


def test_failures_to_read_are_counted_by_topic() -> None:
    topic = token_hex(4)
    backlog = Backlog(topic, None)
    for _ in range(2):
        backlog.cannot_read()
    backlog.close()
    assert REGISTRY.get_sample_value("parley_events_read_failures_total", {"topic": topic}) == 2
