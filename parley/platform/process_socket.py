"""The unix socket of a process, for who runs the machine: what it is doing, drain, undrain.

It is in the data folder, and only the owner of the process connects to it. Nothing of it is on the network: who may start a
command beside the process (`kubectl exec`) may drain it, and nobody else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc import StatusCode

from parley.platform.lifecycle import Service
from parley.platform.needs import Waiting
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.interceptors import ServerInterceptor
from parley.platform.running import Phase, Runner
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.platform.v1 import process_pb2 as pb
from parley.proto.platform.v1.process_pb2_grpc import ProcessServicer, add_ProcessServicer_to_server

logger = logging.getLogger(__name__)

PROCESS_SOCKET: Final = "process.sock"
"""Its name in the data folder."""
_LONGEST_PATH: Final = 100
"""Bytes that the kernel takes for the path of a unix socket, with some to spare."""

_PHASES: Final = {
    Phase.STARTING: pb.PHASE_STARTING,
    Phase.RUNNING: pb.PHASE_RUNNING,
    Phase.DRAINING: pb.PHASE_DRAINING,
    Phase.DRAINED: pb.PHASE_DRAINED,
}


class ProcessSurface(ProcessServicer):
    """Answers for a runner."""

    def __init__(self, runner: Runner, services: Sequence[Service], waiting: Waiting) -> None:
        self._runner = runner
        self._services = services
        self._waiting = waiting

    async def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusResponse:
        """What it is doing."""
        return pb.StatusResponse(state=self._state())

    async def Drain(self, request: pb.DrainRequest, context: Any) -> pb.DrainResponse:
        """Begins a drain."""
        if self._runner.phase is Phase.STARTING:
            raise RpcError(StatusCode.FAILED_PRECONDITION, "it has not started yet, so there is nothing to drain")
        self._runner.drain()
        return pb.DrainResponse(state=self._state())

    async def Undrain(self, request: pb.UndrainRequest, context: Any) -> pb.UndrainResponse:
        """Cancels a drain."""
        self._runner.undrain()
        return pb.UndrainResponse(state=self._state())

    def _state(self) -> pb.ProcessState:
        runner = self._runner
        return pb.ProcessState(
            phase=_PHASES[runner.phase], ready=runner.ready, ending=runner.ending, drain_seconds=runner.drain_seconds,
            services=[self._service(service) for service in self._services],
            waiting=[
                pb.WaitingFor(what=need.value, reason=reason) for need, reason in self._waiting.reasons.items()
            ],
        )  # fmt: skip

    def _service(self, service: Service) -> pb.ServiceState:
        started = self._runner.has_started(service)
        return pb.ServiceState(
            name=service.name, started=started, ready=started and service.ready,
            remaining=service.remaining() if started else {},
        )  # fmt: skip


class ProcessSocket:
    """Serves the surface in a data folder."""

    def __init__(self, data: Path, surface: ProcessSurface) -> None:
        self.path = data / PROCESS_SOCKET
        self._surface = surface
        self._server: Any = None

    async def start(self) -> None:
        """Opens the socket; a path that is too long for one is told of, and nothing else suffers from it."""
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            logger.warning("the path of the data folder is too long for a unix socket: `parley drain` cannot be used")
            return
        server = grpc.aio.server(interceptors=[ServerInterceptor(lambda _: NO_TRACER)])
        add_ProcessServicer_to_server(self._surface, server)
        self.path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server.add_insecure_port(f"unix:{self.path}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.path}: {error}") from None
        finally:
            os.umask(before)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Closes the socket."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0)
            self.path.unlink(missing_ok=True)
