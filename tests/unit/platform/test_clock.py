"""Clocks."""

from parley.platform.clock import Clock, FakeClock, SystemClock


def test_system_clock() -> None:
    clock: Clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall() > 1_700_000_000


def test_fake_clock() -> None:
    clock = FakeClock(10.0, 100.0)
    clock.advance(2.5)
    assert (clock.monotonic(), clock.wall()) == (12.5, 102.5)
