"""Starts worker processes, and anew those that die.

Every port is opened once for each worker (SO_REUSEPORT), and the kernel deals out clients: it hashes the five-tuple of a
packet to one socket of the group, by their number and the order they were bound in. The supervisor opens all of them before
the first is served and keeps them open itself, so a group never changes: when a worker dies, the clients of the others stay
where they are, what comes for its own waits in its sockets, and the process that takes its place goes on with the same
sockets, the same clients and the same share of relay ports. With sockets of its own it would come last in the group, and all
clients would be dealt out anew, away from the workers that hold their allocations.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from prometheus_client import Counter, Gauge

from parley.platform.clock import Clock
from parley.platform.config import PlatformConfig
from parley.platform.lifecycle import Tasks
from parley.proto.avedge.v1.relay_pb2 import AllocationState
from parley.proto.avedge.v1.worker_pb2 import WorkerCommand
from parley.stun.addresses import Family
from services.avedge.child import WorkerChild
from services.avedge.facts import Facts
from services.avedge.metrics import NATIVE
from services.avedge.setups import encode_setup
from services.avedge.sockets import BoundSocket
from services.avedge.worker import WorkerSettings

logger = logging.getLogger(__name__)

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 10.0
_LASTING_S: Final = 30.0
_STOP_S: Final = 5.0
_RUNNING: Final = Gauge("parley_relay_workers", "Worker processes that serve clients")
_LOST: Final = Counter("parley_relay_workers_lost_total", "Worker processes that died")


class Supervisor:
    """All worker processes; see `services.avedge.relays.Relays`."""

    def __init__(self, settings: WorkerSettings, platform: PlatformConfig, facts: Facts, tasks: Tasks, clock: Clock) -> None:
        """``settings``: of every worker, but for its number."""
        self._settings = settings
        self._platform = platform
        self._facts = facts
        self._tasks = tasks
        self._clock = clock
        self._groups: Sequence[Sequence[BoundSocket]] = ()
        self._children: list[WorkerChild] = []
        self._drain: WorkerCommand | None = None
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether all serve: the clients of one that does not get no answer."""
        return all(child.is_up for child in self._children)

    @property
    def workers(self) -> int:
        """How many there are."""
        return self._settings.workers

    @property
    def allocations(self) -> int:
        """How many there are, of all workers."""
        return self._facts.live

    @property
    def plane(self) -> str:
        """The name of what moves packets."""
        return next((child.plane for child in self._children if child.plane), "")

    async def start(self, groups: Sequence[Sequence[BoundSocket]]) -> None:
        """Starts a worker for each group of sockets. Raises OSError when one does not start."""
        self._groups = groups
        self._children = [self._child(number) for number in range(len(groups))]
        launches = (self._launch(number) for number in range(len(groups)))
        for outcome in await asyncio.gather(*launches, return_exceptions=True):
            if isinstance(outcome, BaseException):
                await self.stop()
                raise outcome
        NATIVE.set(self.plane == "native")
        self._keepers = [
            self._tasks.spawn(f"relay worker {number}", self._keep_running(number)) for number in range(len(groups))
        ]

    def drain(self, alternates: Mapping[Family, str]) -> None:
        """New allocations go elsewhere, or are refused; those that live go on."""
        self._drain = WorkerCommand(drain=WorkerCommand.Drain(alternates=alternates.values()))
        self._tell(self._drain)

    def resume(self) -> None:
        """Takes new allocations again."""
        self._drain = None
        self._tell(WorkerCommand(resume=WorkerCommand.Resume()))

    async def listing(self, limit: int) -> list[AllocationState]:
        """The allocations of all, oldest first, at most ``limit``."""
        listings = await asyncio.gather(*(child.listing(limit) for child in self._children))
        states = [state for listing in listings for state in listing]
        return sorted(states, key=lambda state: state.opened_at_ms)[:limit]

    async def stop(self) -> None:
        """Ends all allocations and processes, and closes the sockets."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(child.stop(_STOP_S) for child in self._children))
        for number in range(len(self._children)):
            self._facts.lost(number)  # one that had to be killed has not told the end of its allocations
        _RUNNING.set(0)
        for bound in (bound for group in self._groups for bound in group):
            bound.socket.close()

    def _child(self, number: int) -> WorkerChild:
        return WorkerChild(partial(self._facts.report, number))

    async def _launch(self, number: int) -> None:
        settings = replace(self._settings, number=number)
        setup = encode_setup(settings, self._groups[number], self._platform)
        commands = (self._drain,) if self._drain is not None else ()
        child = self._children[number]
        await child.start(setup, self._groups[number], *commands)
        self._count()

    async def _keep_running(self, number: int) -> None:
        failures = 0
        while True:
            began = self._clock.monotonic()
            code = await self._children[number].gone()
            self._facts.lost(number)
            self._count()
            _LOST.inc()
            logger.error("worker %d of the relay ended with code %d and is started again", number, code)
            failures = 0 if self._clock.monotonic() - began > _LASTING_S else failures + 1
            await asyncio.sleep(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**failures))
            self._children[number] = self._child(number)
            try:
                await self._launch(number)
            except OSError as error:
                logger.error("worker %d of the relay does not start: %s", number, error)

    def _tell(self, command: WorkerCommand) -> None:
        for child in self._children:
            child.send(command)

    def _count(self) -> None:
        _RUNNING.set(sum(child.is_up for child in self._children))
