"""What a service is, and the background tasks of the services of a process; `parley.platform.running` runs them.

A background task that fails is logged and counted, and ends the process with an error, so that it is started anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from prometheus_client import Counter

from parley.platform.clock import Clock
from parley.platform.config import PlatformConfig, Settings
from parley.platform.needs import Need

if TYPE_CHECKING:
    from parley.platform.applications.host import ApplicationHost
    from parley.platform.events.api import EventBus
    from parley.platform.rpc.host import RpcHost
    from parley.platform.store.client import Store
    from parley.platform.telemetry.tracing import Tracer

logger = logging.getLogger(__name__)

_FAILED_TASKS = Counter("parley_process_failed_tasks_total", "Background tasks that ended with an error", ["task"])


STORE_ALONE: Final = frozenset({Need.STORE})
STORE_AND_EVENTS: Final = frozenset({Need.STORE, Need.EVENTS})
NOTHING: Final[frozenset[Need]] = frozenset()


class Service(Protocol):
    """One service of a process."""

    name: str
    needs: frozenset[Need]
    """What it cannot begin without; its start comes once that can be had."""

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

    def remaining(self) -> Mapping[str, int]:
        """What it still serves, by kind, as calls; nothing when all its work is short."""

    def holds_datagrams(self, *, ending: bool) -> bool:
        """Whether clients over UDP, reached by way of a Service, are not to be cut off though it takes no new work.

        ``ending``: the process was told to end, so no new client is sent to it whatever it says.
        """

    async def stop(self) -> None:
        """Closes everything."""


class ShortWorkService:
    """Lifecycle of a service whose every call is short: a drain has nothing to wait for, tasks end with the process.

    Its ``start`` sets ``ready``. Most of them keep all they know in the store.
    """

    ready = False
    needs: frozenset[Need] = STORE_ALONE

    async def drain(self, seconds: float) -> None:
        """Takes no new work."""
        self.ready = False

    def cancel_drain(self) -> None:
        """Takes work again."""
        self.ready = True

    def remaining(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    def holds_datagrams(self, *, ending: bool) -> bool:
        """It has no clients over UDP."""
        return False

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
