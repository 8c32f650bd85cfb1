"""The life of a process with services that do as the test says: start, drain with and without an end, signals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from parley.platform.clock import FakeClock
from parley.platform.lifecycle import Tasks
from parley.platform.needs import Need, Waiting
from parley.platform.running import EndedEarly, Phase, Runner
from parley.platform.store.errors import StoreUnavailable

LONG = 60.0


class Part:
    """A service whose drain lasts until ``empty`` is set."""

    def __init__(self, name: str, log: list[str], needs: frozenset[Need] = frozenset()) -> None:
        self.name = name
        self.needs = needs
        self.ready = False
        self.empty = asyncio.Event()
        self.failure: Exception | None = None
        self.datagrams = False
        self._log = log

    def register(self) -> None:
        """Nothing."""

    async def start(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.ready = True
        self._log.append(f"start {self.name}")

    async def drain(self, seconds: float) -> None:
        self.ready = False
        self._log.append(f"drain {self.name}")
        if self.failure is not None:
            raise self.failure
        await self.empty.wait()
        self._log.append(f"drained {self.name}")

    def cancel_drain(self) -> None:
        self.ready = True
        self._log.append(f"undrain {self.name}")

    def remaining(self) -> Mapping[str, int]:
        return {"calls": 0 if self.empty.is_set() else 3}

    def holds_datagrams(self, *, ending: bool) -> bool:
        return ending or self.datagrams

    async def stop(self) -> None:
        self._log.append(f"stop {self.name}")


class Life:
    """A runner with two services, and what is asked of it."""

    def __init__(self, *needs: Need, drain_seconds: float = LONG) -> None:
        self.log: list[str] = []
        self.first = Part("first", self.log, frozenset(needs))
        self.second = Part("second", self.log)
        self.tasks = Tasks()
        self.runner = Runner([self.first, self.second], self.tasks, drain_seconds=drain_seconds)
        self.store_there = asyncio.Event()
        self.waited = asyncio.Event()
        self.waiting = Waiting({Need.STORE: self._store}, FakeClock(), self._sleep)
        self.running: asyncio.Task[int] | None = None

    async def _store(self) -> None:
        if not self.store_there.is_set():
            raise StoreUnavailable("away")

    async def _sleep(self, seconds: float) -> None:
        self.waited.set()
        await self.store_there.wait()

    async def start(self) -> None:
        await self.runner.guard(self.runner.start(self.waiting))
        self.running = asyncio.create_task(self.runner.run())
        await turns()

    async def exit_code(self) -> int:
        assert self.running is not None
        async with asyncio.timeout(5):
            return await self.running

    @property
    def runs(self) -> bool:
        return self.running is not None and not self.running.done()


async def turns() -> None:
    """Lets everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    made = Life()
    yield made
    if made.running is not None:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)
    await made.runner.stop()


async def test_services_start_in_order_and_stop_in_reverse(life: Life) -> None:
    assert life.runner.phase is Phase.STARTING
    await life.start()
    assert life.runner.ready
    await life.runner.stop()
    assert life.log == ["start first", "start second", "stop second", "stop first"]


async def test_service_that_lacks_the_store_comes_later_and_the_process_is_not_ready() -> None:
    life = Life(Need.STORE)
    starting = asyncio.create_task(life.runner.start(life.waiting))
    await life.waited.wait()
    assert life.log == ["start second"]
    assert (life.runner.phase, life.runner.ready, life.runner.started_once) == (Phase.STARTING, False, False)
    life.runner.drain()  # nothing to drain yet
    assert life.runner.phase is Phase.STARTING
    life.store_there.set()
    await starting
    assert life.log == ["start second", "start first"]
    assert life.runner.ready
    await life.runner.stop()


async def test_told_to_end_while_waiting_ends_at_once() -> None:
    life = Life(Need.STORE)
    starting = asyncio.create_task(life.runner.guard(life.runner.start(life.waiting)))
    await life.waited.wait()
    life.runner.terminate()
    with pytest.raises(EndedEarly) as end:
        await starting
    assert end.value.code == 0
    await life.runner.stop()
    assert life.log == ["start second", "stop second"]


async def test_vital_task_that_fails_while_waiting_ends_with_an_error() -> None:
    life = Life(Need.STORE)
    starting = asyncio.create_task(life.runner.guard(life.runner.start(life.waiting)))
    await life.waited.wait()

    async def fail() -> None:
        raise OSError("broken")

    life.tasks.spawn("vital", fail())
    with pytest.raises(EndedEarly) as end:
        await starting
    assert end.value.code == 1
    await life.runner.stop()


async def test_service_that_cannot_start_is_told(life: Life) -> None:
    life.second.failure = OSError("port taken")
    with pytest.raises(OSError, match="port taken"):
        await life.runner.guard(life.runner.start(life.waiting))
    await life.runner.stop()
    assert life.log == ["start first", "stop first"]


async def test_sigterm_drains_and_ends(life: Life) -> None:
    await life.start()
    life.runner.terminate()
    await turns()
    assert (life.runner.phase, life.runner.ready, life.runner.ending) == (Phase.DRAINING, False, True)
    assert life.runs
    life.first.empty.set()
    await turns()
    assert life.runs
    life.second.empty.set()
    assert await life.exit_code() == 0


async def test_second_sigterm_ends_at_once(life: Life) -> None:
    await life.start()
    life.runner.terminate()
    await turns()
    life.runner.terminate()
    assert await life.exit_code() == 0
    assert "drained first" not in life.log


async def test_signal_right_after_a_cancelled_drain_begins_another(life: Life) -> None:
    await life.start()
    life.runner.terminate()
    await turns()
    life.runner.undrain()
    life.runner.terminate()
    await turns()
    assert life.log.count("drain first") == 2
    for part in (life.first, life.second):
        part.empty.set()
    assert await life.exit_code() == 0


async def test_sigterm_that_is_taken_back_at_once_leaves_it_as_it_was(life: Life) -> None:
    await life.start()
    life.runner.terminate()
    life.runner.undrain()
    await turns()
    assert life.runs
    assert (life.runner.phase, life.runner.ready, life.runner.ending) == (Phase.RUNNING, True, False)
    assert "drain first" not in life.log
    life.runner.terminate()
    life.runner.terminate()
    assert await life.exit_code() == 0


async def test_drain_does_not_end_the_process_and_undrain_makes_it_ready(life: Life) -> None:
    await life.start()
    life.runner.drain()
    assert not life.runner.ready  # at once, before any service was asked
    life.runner.drain()
    await turns()
    assert life.log.count("drain first") == 1
    for part in (life.first, life.second):
        part.empty.set()
    await turns()
    assert (life.runner.phase, life.runner.ready, life.runner.ending) == (Phase.DRAINED, False, False)
    assert life.runs
    life.runner.undrain()
    assert (life.runner.phase, life.runner.ready) == (Phase.RUNNING, True)
    assert life.runs


async def test_a_drain_takes_it_out_of_service_once_no_client_over_udp_is_cut_off_by_that(life: Life) -> None:
    await life.start()
    life.second.datagrams = True
    life.runner.drain()
    await turns()
    assert (life.runner.ready, life.runner.in_service) == (False, True)
    life.second.datagrams = False
    assert (life.runner.ready, life.runner.in_service) == (False, False)
    life.runner.undrain()
    assert (life.runner.ready, life.runner.in_service) == (True, True)


async def test_who_ends_stays_in_service_for_as_long_as_its_services_say(life: Life) -> None:
    await life.start()
    life.runner.terminate()
    await turns()
    assert (life.runner.ready, life.runner.in_service) == (False, True)
    for part in (life.first, life.second):
        part.empty.set()
    await turns()
    assert life.runner.in_service  # the last answers go out while it closes
    assert await life.exit_code() == 0


async def test_undrain_in_the_middle_of_a_drain(life: Life) -> None:
    await life.start()
    life.runner.drain()
    await turns()
    life.runner.undrain()
    await turns()
    assert life.runner.ready
    assert "drained first" not in life.log
    assert life.log[-2:] == ["undrain first", "undrain second"]


async def test_undrain_without_a_drain_does_nothing(life: Life) -> None:
    await life.start()
    life.runner.undrain()
    assert life.log == ["start first", "start second"]


async def test_sigterm_in_a_drain_ends_when_it_is_over(life: Life) -> None:
    await life.start()
    life.runner.drain()
    await turns()
    life.runner.terminate()
    await turns()
    assert life.runs
    assert life.log.count("drain first") == 1
    for part in (life.first, life.second):
        part.empty.set()
    assert await life.exit_code() == 0


async def test_sigterm_after_a_drain_ends_at_once(life: Life) -> None:
    await life.start()
    life.runner.drain()
    for part in (life.first, life.second):
        part.empty.set()
    await turns()
    life.runner.terminate()
    assert await life.exit_code() == 0


async def test_task_that_fails_ends_a_process_that_drains(life: Life) -> None:
    await life.start()
    life.runner.drain()

    async def fail() -> None:
        raise OSError("broken")

    life.tasks.spawn("vital", fail())
    assert await life.exit_code() == 1


async def test_task_that_fails_after_a_sigterm_ends_the_process_at_once(life: Life) -> None:
    await life.start()
    life.runner.terminate()
    await turns()

    async def fail() -> None:
        raise OSError("broken")

    life.tasks.spawn("vital", fail())
    assert await life.exit_code() == 1
    assert "drained first" not in life.log


async def test_drain_of_one_service_that_fails_does_not_end_the_other(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    await life.start()
    life.first.failure = OSError("broken")
    life.runner.drain()
    await turns()
    assert life.runner.phase.value == "draining"
    life.second.empty.set()
    await turns()
    assert life.runner.phase.value == "drained"
    assert "draining first failed" in caplog.text


async def test_drain_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(drain_seconds=7)
    await life.start()
    asked: list[Any] = []
    real = asyncio.wait

    async def wait(things: Any, *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED) -> Any:
        if timeout is None:
            return await real(things, return_when=return_when)
        asked.append(timeout)
        return set(), set(things)

    monkeypatch.setattr(asyncio, "wait", wait)
    life.runner.terminate()
    assert await life.exit_code() == 0
    assert asked == [8]
    await life.runner.stop()
