"""The wait of a start for Redis and the event bus: how often it tries, what it says."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import REGISTRY

from parley.platform.clock import FakeClock
from parley.platform.config import ConfigError
from parley.platform.events.api import EventBusError
from parley.platform.needs import Need, Waiting
from parley.platform.store.errors import StoreUnavailable

BOTH = frozenset(Need)


class World:
    """Problems by need; the clock moves while somebody sleeps, and ``then`` is done after so many seconds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.problems: dict[Need, Exception] = {}
        self.changes: dict[int, dict[Need, Exception]] = {}
        self.tries = 0
        self.waiting = Waiting({Need.STORE: self._store, Need.EVENTS: self._events}, self.clock, self._sleep)

    async def _store(self) -> None:
        self.tries += 1
        if Need.STORE in self.problems:
            raise self.problems[Need.STORE]

    async def _events(self) -> None:
        if Need.EVENTS in self.problems:
            raise self.problems[Need.EVENTS]

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        second = round(self.clock.monotonic() - 1000)
        if second in self.changes:
            self.problems = self.changes[second]


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> World:
    caplog.set_level(logging.INFO, "parley.platform.needs")
    return World()


def gauge(need: Need) -> float | None:
    return REGISTRY.get_sample_value("parley_process_waiting", {"what": need.value})


async def test_nothing_is_said_when_all_is_there(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert await world.waiting.missing(BOTH) == set()
    await world.waiting.until(BOTH)
    assert not caplog.records


async def test_reason_is_told_when_it_changes_and_every_ten_seconds(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.problems = {Need.STORE: StoreUnavailable("refused")}
    world.changes = {25: {Need.STORE: StoreUnavailable("LOADING")}, 27: {}}
    await world.waiting.until({Need.STORE})
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["the start waits: refused"] * 3 + ["the start waits: LOADING", "Redis is there, the start goes on"]
    waited = [vars(record)["waited_seconds"] for record in caplog.records]
    assert waited == [0, 10, 20, 25, 27]
    assert vars(caplog.records[0])["waits_for"] == "Redis"
    assert world.tries == 28


async def test_what_is_missing_is_known_while_it_waits(world: World) -> None:
    world.problems = {Need.EVENTS: EventBusError("no broker")}
    assert await world.waiting.missing(BOTH) == {Need.EVENTS}
    assert world.waiting.reasons == {Need.EVENTS: "no broker"}
    assert (gauge(Need.EVENTS), gauge(Need.STORE)) == (1, gauge(Need.STORE))
    world.problems = {}
    assert await world.waiting.missing(BOTH) == set()
    assert world.waiting.reasons == {}
    assert gauge(Need.EVENTS) == 0


async def test_events_on_redis_are_not_told_of_beside_redis(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.problems = {Need.STORE: StoreUnavailable("refused"), Need.EVENTS: EventBusError("refused")}
    world.changes = {12: {}}
    await world.waiting.until(BOTH)
    lines = [record.getMessage() for record in caplog.records if "waits" in record.getMessage()]
    assert lines == ["the start waits: refused"] * 2


async def test_mistake_that_no_waiting_mends_ends_the_start(world: World) -> None:
    world.problems = {Need.STORE: ConfigError(["written by a newer release"])}
    with pytest.raises(ConfigError):
        await world.waiting.until({Need.STORE})
