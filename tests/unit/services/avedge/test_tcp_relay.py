"""Rates of streams."""

from __future__ import annotations

import pytest

from services.avedge.tcp_relay import Pace


def test_without_a_rate_nothing_waits() -> None:
    assert Pace(0).wait(10**9, 5.0) == 0.0


def test_half_a_second_may_come_at_once() -> None:
    pace = Pace(1000)
    assert pace.wait(500, 100.0) == 0.0
    assert pace.wait(1, 100.0) == pytest.approx(0.001)


def test_in_the_long_run_the_rate_holds() -> None:
    pace, now, passed = Pace(1000), 100.0, 0
    while now < 160.0:
        passed += 700
        now += pace.wait(700, now)
    assert passed == pytest.approx(60_000, rel=0.03)


def test_idle_time_is_not_saved_up() -> None:
    pace = Pace(1000)
    pace.wait(500, 100.0)
    assert pace.wait(2500, 1000.0) == pytest.approx(2.0)
