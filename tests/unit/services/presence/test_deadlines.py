"""When users who call are looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parley.platform.clock import FakeClock
from parley.presence.model import new_presentity
from services.presence.repository import PresenceRepository


class Repository(PresenceRepository):
    """Without a store."""

    def __init__(self, clock: FakeClock, interval_ms: int) -> None:
        self._clock = clock
        self._call_check_ms = interval_ms


@given(
    st.integers(1_000, 60_000), st.lists(st.integers(0, 90), min_size=1, max_size=20), st.text("abc", min_size=1, max_size=5)
)
def test_once_in_every_interval_whatever_changes_meanwhile(interval_ms: int, waits: list[int], user: str) -> None:
    clock = FakeClock()
    repository = Repository(clock, interval_ms)
    state = new_presentity(f"sip:{user}@example.test")
    assert repository.deadline_ms(state) == 0
    state.calls.add(call_id="c")
    due = repository.deadline_ms(state)
    for wait in waits:
        now_ms = int(clock.wall() * 1000)
        assert now_ms < repository.deadline_ms(state) <= now_ms + interval_ms
        if now_ms < due:
            assert repository.deadline_ms(state) == due  # a change does not put it off
        due = repository.deadline_ms(state)
        clock.advance(wait)
    state.calls[0].ended = "local-bye"
    assert repository.deadline_ms(state) == 0
