"""One worker process, as the service sees it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

from parley.proto.avedge.v1.relay_pb2 import AllocationState
from parley.proto.avedge.v1.worker_pb2 import Listing, Setup, WorkerCommand, WorkerReport
from services.avedge.channel import Channel
from services.avedge.sockets import BoundSocket

logger = logging.getLogger(__name__)

_START_S: Final = 60.0
_LIST_S: Final = 5.0


class WorkerFailed(OSError):
    """A worker process did not start; the text says why."""


class WorkerChild:
    """One run of a process, from `start` until `gone`; see `services.avedge.channel.ChannelUser`."""

    def __init__(self, report: Callable[[WorkerReport], None]) -> None:
        """``report`` takes what the worker reports of its allocations."""
        self.plane = ""
        self._report = report
        self._channel: Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._over = asyncio.Event()
        self._started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._requests = itertools.count(1)
        self._listings: dict[int, tuple[list[AllocationState], asyncio.Future[None]]] = {}

    @property
    def is_up(self) -> bool:
        """Whether it serves clients."""
        return bool(self.plane) and not self._over.is_set()

    async def start(self, setup: Setup, sockets: Sequence[BoundSocket], *commands: WorkerCommand) -> None:
        """Starts it, with commands that it obeys before it serves anybody. Raises OSError, as WorkerFailed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = Channel(ours, self)
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "services.avedge.worker_process", str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
                )  # fmt: skip
            self.send(WorkerCommand(setup=setup), [bound.socket.fileno() for bound in sockets])
            for command in commands:
                self.send(command)
            async with asyncio.timeout(_START_S):
                self.plane = await asyncio.shield(self._started)
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise WorkerFailed("it does not answer") from None
            raise

    def send(self, command: WorkerCommand, files: Sequence[int] = ()) -> None:
        """Tells it something; nothing when it is gone."""
        if self._channel is not None:
            self._channel.send(command.SerializeToString(), files)

    async def listing(self, limit: int) -> list[AllocationState]:
        """Its allocations, oldest first; those that came when it does not answer in time, or ends."""
        if not self.is_up:
            return []
        request = next(self._requests)
        states: list[AllocationState] = []
        done = asyncio.get_running_loop().create_future()
        self._listings[request] = states, done
        self.send(WorkerCommand(list=WorkerCommand.List(request=request, limit=limit)))
        try:
            async with asyncio.timeout(_LIST_S):
                await done
        except TimeoutError:
            logger.warning("a worker did not list its allocations in time")
        finally:
            del self._listings[request]
        return states

    async def gone(self) -> int:
        """Waits for its end, and until all it reported has been taken; its exit code."""
        await self._over.wait()
        return await self._process.wait() if self._process is not None else 0

    async def stop(self, seconds: float) -> None:
        """Ends it: its allocations are reported closed. Kills it after that time."""
        self.send(WorkerCommand(stop=WorkerCommand.Stop()))
        try:
            async with asyncio.timeout(seconds):
                await self.gone()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._channel is not None:
            self._channel.close()
        self.ended()

    def received(self, data: bytes, files: list[int]) -> None:
        """A report."""
        for number in files:
            os.close(number)
        report = WorkerReport.FromString(data)
        kind = report.WhichOneof("report")
        if kind == "started":
            if not self._started.done():
                self._started.set_result(report.started.plane)
        elif kind == "failed":
            if not self._started.done():
                self._started.set_exception(WorkerFailed(report.failed.problem))
        elif kind == "listing":
            self._listed(report.listing)
        else:
            self._report(report)

    def ended(self) -> None:
        """It has ended, or is about to."""
        self._over.set()
        if not self._started.done():
            self._started.set_exception(WorkerFailed("it ended"))
            self._started.exception()  # nobody may be waiting for it any more
        for _, done in self._listings.values():
            if not done.done():
                done.set_result(None)

    def _listed(self, listing: Listing) -> None:
        waiting = self._listings.get(listing.request)
        if waiting is None:
            return
        states, done = waiting
        states.extend(listing.allocations)
        if listing.last and not done.done():
            done.set_result(None)
