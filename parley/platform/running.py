"""Runs the services of one process: start, ready, drain, and on again or to the end.

SIGTERM and SIGINT drain and end the process; SIGUSR1 cancels that, a second SIGTERM or SIGINT ends it at once. A drain can
also be asked for without an end (`Runner.drain`): the process stays, and a SIGTERM that comes meanwhile ends it when the
drain is over. A drain is bounded in time, whoever asked for it.

A process that is told to end, or whose vital task fails, before it has started ends without a drain.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Sequence
from enum import Enum
from typing import Any, TypeVar

from parley.platform.lifecycle import Service, Tasks
from parley.platform.needs import Need, Waiting

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Phase(Enum):
    """Where a process stands."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"


class EndedEarly(Exception):
    """The process ends before it has started; the argument is its exit code."""

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self.args[0])


class Runner:
    """The life of one process."""

    def __init__(self, services: Sequence[Service], tasks: Tasks, *, drain_seconds: float) -> None:
        """``services``: may still grow until `start`; they start in order."""
        self._services = services
        self._tasks = tasks
        self.drain_seconds = drain_seconds
        self._terminate = asyncio.Event()
        self._now = asyncio.Event()
        self._started: list[Service] = []
        self._drain_task: asyncio.Task[None] | None = None
        self._drains: list[asyncio.Task[None]] = []
        self.started_once = False
        """Whether all services have started, ever."""

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        if not self.started_once:
            return Phase.STARTING
        if self._drain_task is None:
            return Phase.RUNNING
        return Phase.DRAINED if self._drain_task.done() else Phase.DRAINING

    @property
    def ready(self) -> bool:
        """Whether every service takes work."""
        return self.phase is Phase.RUNNING and all(service.ready for service in self._started)

    @property
    def in_service(self) -> bool:
        """Whether a load balancer is to go on naming it: it takes work, or would be cut off from clients over UDP.

        Once a pod is not ready, kube-proxy forgets how the addresses of its datagrams were translated, and what it sends
        finds no client. Of a pod that was told to end new clients hear nothing anyway.
        """
        return self.ready or (
            self._drain_task is not None and any(service.holds_datagrams(ending=self.ending) for service in self._started)
        )

    @property
    def ending(self) -> bool:
        """Whether it was told to end."""
        return self._terminate.is_set()

    def has_started(self, service: Service) -> bool:
        """Whether a service has."""
        return service in self._started

    # Start

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a part of the start. Raises EndedEarly when the process is to end; the work is cancelled then."""
        task = asyncio.ensure_future(work)
        ends = [asyncio.ensure_future(event.wait()) for event in (self._terminate, self._tasks.failed)]
        try:
            await asyncio.wait([task, *ends], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            for future in (task, *ends):
                future.cancel()
            await asyncio.gather(task, *ends, return_exceptions=True)
        raise EndedEarly(1 if self._has_failed() else 0)

    async def start(self, waiting: Waiting) -> None:
        """Starts the services in order; those that lack something come after the others, once it is there.

        Who is told to end the process meanwhile is heard only within `guard`.
        """
        missing = await waiting.missing({need for service in self._services for need in service.needs})
        waits = [service for service in self._services if missing & service.needs]
        for service in self._services:
            if service not in waits:
                await self._start(service)
        for service in waits:
            await waiting.until(service.needs)
            await self._start(service)
        self.started_once = True

    async def _start(self, service: Service) -> None:
        await service.start()
        self._started.append(service)

    # Signals

    def handle_signals(self) -> None:
        """Makes signals drain and stop this process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.terminate)
        loop.add_signal_handler(signal.SIGUSR1, self.undrain)

    def terminate(self) -> None:
        """Ends the process after a drain; the second call ends it at once."""
        if self._terminate.is_set():
            self._now.set()
        self._terminate.set()

    # Drain

    def drain(self) -> None:
        """Begins a drain, unless one goes on; the process does not end with it."""
        if self._drain_task is None and self.started_once:
            logger.info("draining, at most %.0f seconds", self.drain_seconds)
            self._drain_task = asyncio.ensure_future(self._drain())

    def undrain(self) -> None:
        """Goes on as if nothing had been said."""
        self._terminate.clear()  # here, so that a signal right after this one begins a drain
        if self._drain_task is None:
            return
        logger.info("the drain is cancelled")
        for task in (self._drain_task, *self._drains):
            task.cancel()
        self._drain_task = None
        for service in self._started:
            service.cancel_drain()

    async def _drain(self) -> None:
        drains = [asyncio.ensure_future(self._drain_service(service)) for service in self._started]
        self._drains = drains
        try:
            if drains:
                await asyncio.wait(drains, timeout=self.drain_seconds + 1)
        finally:
            for task in drains:
                task.cancel()
            await asyncio.gather(*drains, return_exceptions=True)
        left = {kind: count for service in self._started for kind, count in service.remaining().items() if count}
        logger.info("drained", extra={"left": left})

    async def _drain_service(self, service: Service) -> None:
        try:
            await service.drain(self.drain_seconds)
        except Exception:
            logger.exception("draining %s failed", service.name)

    # End

    async def run(self) -> int:
        """Waits for the end; the exit code: 0 after a drain, 1 after a failed task."""
        while True:
            await self._first(self._terminate, self._tasks.failed)
            if self._has_failed():
                return 1
            if not self._terminate.is_set():
                continue  # taken back before we came to look
            self.drain()
            task = self._drain_task
            if task is None:
                return 0  # nothing was started, so nothing drains
            await self._first(task, self._now, self._tasks.failed)
            if self._has_failed():
                return 1
            if self._now.is_set() or (self._terminate.is_set() and task is self._drain_task and task.done()):
                return 0

    def _has_failed(self) -> bool:
        if self._tasks.failed.is_set():
            logger.error("ending, as a background task failed")
        return self._tasks.failed.is_set()

    async def _first(self, *things: asyncio.Event | asyncio.Task[None]) -> None:
        """Returns when an event is set, or a task is done or cancelled."""
        waits = [asyncio.ensure_future(thing.wait()) if isinstance(thing, asyncio.Event) else thing for thing in things]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait, thing in zip(waits, things, strict=True):
                if wait is not thing:
                    wait.cancel()

    async def stop(self) -> None:
        """Stops the services in reverse order; one that fails does not keep the others."""
        if self._drain_task is not None:
            self._drain_task.cancel()
            await asyncio.gather(self._drain_task, return_exceptions=True)
        for service in reversed(self._started):
            try:
                await service.stop()
            except Exception:
                logger.exception("stopping %s failed", service.name)
        self._started.clear()
        await self._tasks.stop()


__all__ = ["EndedEarly", "Need", "Phase", "Runner"]
