"""How a process lives: start, ready, drain, stop; and the background tasks of its services.

SIGTERM and SIGINT begin a drain that is bounded in time; SIGUSR1 cancels it, a second SIGTERM or SIGINT ends it at once.
A background task that fails is logged and counted, and ends the process with an error, so that it is started anew.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import Counter

from parley.platform.clock import Clock
from parley.platform.config import PlatformConfig, Settings

if TYPE_CHECKING:
    from parley.platform.applications.host import ApplicationHost
    from parley.platform.events.api import EventBus
    from parley.platform.rpc.host import RpcHost
    from parley.platform.store.client import Store
    from parley.platform.telemetry.tracing import Tracer

logger = logging.getLogger(__name__)

_FAILED_TASKS = Counter("parley_process_failed_tasks_total", "Background tasks that ended with an error", ["task"])


class Service(Protocol):
    """One service of a process."""

    name: str

    @property
    def ready(self) -> bool:
        """Listeners open, configuration loaded, not draining."""

    def register(self) -> None:
        """Adds its gRPC services to the process's rpc host; called before anything starts."""

    async def start(self) -> None:
        """Opens listeners and begins background work; the rpc host of the process runs already."""

    async def drain(self, seconds: float) -> None:
        """Takes no new work, lets the old end, at most that long; ends early when it is cancelled."""

    def cancel_drain(self) -> None:
        """Takes new work again."""

    async def stop(self) -> None:
        """Closes everything."""


class ShortWorkService:
    """Lifecycle of a service whose every call is short: a drain has nothing to wait for, tasks end with the process.

    Its ``start`` sets ``ready``.
    """

    ready = False

    async def drain(self, seconds: float) -> None:
        """Takes no new work."""
        self.ready = False

    def cancel_drain(self) -> None:
        """Takes work again."""
        self.ready = True

    async def stop(self) -> None:
        """Takes no new work."""
        self.ready = False


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What a service is made with."""

    settings: Settings
    platform: PlatformConfig
    clock: Clock
    store: Store
    events: EventBus
    rpc: RpcHost
    applications: ApplicationHost
    tracer: Tracer
    master_key: bytes
    tasks: Tasks


class Tasks:
    """Background tasks; the first that fails is remembered and wakes who waits."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None

    def spawn(self, name: str, work: Coroutine[Any, Any, Any], *, vital: bool = True) -> asyncio.Task[Any]:
        """Runs a coroutine. ``vital``: its failure ends the process; else it is only logged and counted."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._vital_done if vital else self._done)
        return task

    def once(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a coroutine for one request."""
        return self.spawn(name, work, vital=False)

    async def stop(self) -> None:
        """Cancels all and waits for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> BaseException | None:
        self._tasks.discard(task)
        if task.cancelled():
            return None
        error = task.exception()
        if error is not None:
            _FAILED_TASKS.labels(task.get_name()).inc()
            logger.error("task %s failed", task.get_name(), exc_info=error)
        return error

    def _vital_done(self, task: asyncio.Task[Any]) -> None:
        error = self._done(task)
        if error is not None and self.failure is None:
            self.failure = error
            self.failed.set()


class Runner:
    """Runs the services of one process from start to stop."""

    def __init__(self, services: Sequence[Service], tasks: Tasks, *, drain_seconds: float) -> None:
        self._services = services
        self._tasks = tasks
        self._drain_seconds = drain_seconds
        self._terminate = asyncio.Event()
        self._now = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._started: list[Service] = []

    @property
    def ready(self) -> bool:
        """Whether every service takes work."""
        return len(self._started) == len(self._services) and all(service.ready for service in self._started)

    async def start(self) -> None:
        """Starts the services in order; when one fails those before it are stopped."""
        try:
            for service in self._services:
                await service.start()
                self._started.append(service)
        except BaseException:
            await self.stop()
            raise

    def handle_signals(self) -> None:
        """Makes signals drain and stop this process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.terminate)
        loop.add_signal_handler(signal.SIGUSR1, self.cancel_drain)

    def terminate(self) -> None:
        """Begins the drain; the second call ends it at once."""
        if self._terminate.is_set():
            self._now.set()
        self._terminate.set()

    def cancel_drain(self) -> None:
        """Goes on as if nothing had been said."""
        if self._terminate.is_set():
            logger.info("the drain is cancelled")
            self._terminate.clear()  # here, so that a signal right after this one begins a drain
            self._cancelled.set()
            for service in self._started:
                service.cancel_drain()

    async def run(self) -> int:
        """Waits for the end; the exit code: 0 after a drain, 1 after a failed task."""
        while True:
            if not await self._wait_for_end():
                logger.error("ending, as a background task failed")
                return 1
            if await self._drain():
                return 0
            self._cancelled.clear()

    async def _wait_for_end(self) -> bool:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._terminate, self._tasks.failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self._tasks.failed.is_set()

    async def _drain(self) -> bool:
        """Drains all services; False when it was cancelled."""
        logger.info("draining, at most %.0f seconds", self._drain_seconds)
        drains = [asyncio.ensure_future(service.drain(self._drain_seconds)) for service in self._started]
        done = asyncio.ensure_future(asyncio.wait(drains, timeout=self._drain_seconds + 1)) if drains else None
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in (self._now, self._cancelled)]
        if done is not None:
            await asyncio.wait([*waits, done], return_when=asyncio.FIRST_COMPLETED)
        for future in (*waits, *drains, *([done] if done is not None else [])):
            future.cancel()
        await asyncio.gather(*drains, return_exceptions=True)
        return not self._cancelled.is_set()

    async def stop(self) -> None:
        """Stops the services in reverse order; one that fails does not keep the others."""
        for service in reversed(self._started):
            try:
                await service.stop()
            except Exception:
                logger.exception("stopping %s failed", service.name)
        self._started.clear()
        await self._tasks.stop()
