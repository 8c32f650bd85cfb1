"""What is told once although it happens again and again."""

from __future__ import annotations

import logging

from parley.platform.clock import FakeClock
from parley.platform.telemetry.repeats import RepeatFilter, Repeats


def record(name: str, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, None, None)


def test_news_and_every_ten_seconds() -> None:
    clock = FakeClock()
    repeats = Repeats(clock.monotonic)
    assert [repeats.is_due("away") for _ in range(3)] == [True, False, False]
    assert repeats.is_due("refused")
    clock.advance(9.9)
    assert not repeats.is_due("refused")
    clock.advance(0.1)
    assert repeats.is_due("refused")
    repeats.over()
    assert repeats.is_due("refused")


def test_lines_of_a_library_are_told_once_and_those_of_others_always() -> None:
    clock = FakeClock()
    lines = RepeatFilter("aiokafka", clock.monotonic)
    assert [lines.filter(record("aiokafka.conn", "away")) for _ in range(2)] == [True, False]
    assert lines.filter(record("aiokafka", "something else"))
    assert not lines.filter(record("aiokafka.consumer", "away"))
    assert all(lines.filter(record("parley.platform", "away")) for _ in range(2))
    clock.advance(10)
    assert lines.filter(record("aiokafka", "away"))


def test_many_different_lines_take_no_more_room() -> None:
    lines = RepeatFilter("aiokafka", FakeClock().monotonic)
    assert all(lines.filter(record("aiokafka", f"line {number}")) for number in range(1000))
    assert len(lines._lines) <= 256
