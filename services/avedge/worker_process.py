"""A worker as a process of its own: ``python -m services.avedge.worker_process DESCRIPTOR``.

The descriptor is its end of a channel to the service that started it (`services.avedge.supervisor`), from which it learns
everything else. It ends when it is told to, or when the service has ended. Signals are the service's business: a signal to
the whole process group would else end it before the service has drained it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from typing import Final, Literal, cast

import uvloop

from parley.platform.clock import SystemClock
from parley.platform.telemetry.logs import configure_logs
from parley.platform.telemetry.tracing import Tracing
from parley.proto.avedge.v1.worker_pb2 import Failed, Listing, Setup, Started, WorkerCommand, WorkerReport
from parley.stun.addresses import Address
from services.avedge.channel import Channel
from services.avedge.metrics import NewCounts
from services.avedge.setups import decode_settings, decode_sockets
from services.avedge.worker import Worker

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_A_PART: Final = 100


class WorkerProcess:
    """The worker and its end of the channel, see `services.avedge.channel.ChannelUser`."""

    def __init__(self, sock: socket.socket) -> None:
        self._channel = Channel(sock, self)
        self._counts = NewCounts()
        self._tracing = Tracing(None)
        self._worker: Worker | None = None
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serves until it is told to stop, or the service is gone."""
        await self._over.wait()
        if self._worker is not None:
            await self._worker.stop()
        self._channel.close()
        self._tracing.stop()

    def received(self, data: bytes, files: list[int]) -> None:
        """A command."""
        command = WorkerCommand.FromString(data)
        kind = command.WhichOneof("command")
        if kind == "setup":
            self._set_up(command.setup, files)
        elif kind == "stop":
            self._over.set()
        elif self._worker is None:
            return
        elif kind == "drain":
            self._worker.drain({Address(host, 0).family: host for host in command.drain.alternates})
        elif kind == "resume":
            self._worker.resume()
        elif kind == "list":
            self._list(self._worker, command.list)

    def ended(self) -> None:
        """The service is gone."""
        self._over.set()

    def _set_up(self, setup: Setup, files: list[int]) -> None:
        form = cast(Literal["auto", "json", "text"], setup.log_format)
        configure_logs("avedge", level=setup.log_level, form=form)
        try:
            sockets = decode_sockets(setup, files)
            self._tracing = Tracing(setup.otlp_endpoint or None, ratio=setup.trace_ratio)
            self._worker = Worker(decode_settings(setup), self._report, SystemClock(), self._tracing.tracer("avedge"))
            self._worker.start(sockets)
        except Exception as error:  # whatever it is, the service tells people
            logger.exception("worker %d cannot start", setup.number)
            self._report(WorkerReport(failed=Failed(problem=f"{type(error).__name__}: {error}")))
            self._over.set()
            return
        self._report(WorkerReport(started=Started(plane=self._worker.plane.name)))

    def _list(self, worker: Worker, command: WorkerCommand.List) -> None:
        states = worker.listing(command.limit)
        parts = [states[start : start + _A_PART] for start in range(0, len(states), _A_PART)] or [[]]
        for number, part in enumerate(parts, 1):
            listing = Listing(request=command.request, allocations=part, last=number == len(parts))
            self._report(WorkerReport(listing=listing))

    def _report(self, report: WorkerReport) -> None:
        if report.WhichOneof("report") == "counts":
            report.counts.metrics.extend(self._counts.take())
        self._channel.send(report.SerializeToString())


def main() -> None:
    """Runs it."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        # The channel's end says the same, but only to a process whose event loop still turns.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    sock = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(sock.fileno(), False)

    async def serve() -> None:
        await WorkerProcess(sock).run()

    uvloop.run(serve())


if __name__ == "__main__":
    main()
