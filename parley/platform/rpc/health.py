"""The standard health service (grpc.health.v1) of a process, with three names, and "".

``startup`` is that all services have started once, or wait for Redis or Kafka, however long: to start the process anew would
not bring them. ``liveness`` is that the event loop answers. "" is that it takes new work: ports are open, nothing drains.
``readiness`` is that whoever spreads clients over processes is to keep this one: the same, but that a drain does not end it
while clients over UDP would be cut off (`parley.platform.running.Runner.in_service`). A missing Redis or Kafka is in none of
them, but for this: services that need one start when it is there.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

STARTUP: Final = "startup"
LIVENESS: Final = "liveness"
READINESS: Final = "readiness"

_MOST_CALLS: Final = 64
"""At a time, on a port that is open to whoever reaches it."""


class Health:
    """What a process says of itself."""

    def __init__(self) -> None:
        self._servicer = HealthServicer()
        self._started = False

    def add_to(self, server: Any) -> None:
        """Serves it on a ``grpc.aio`` server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, *, ready: bool, in_service: bool, started: bool = False) -> None:
        """Changes it; who watches is told. ``started``: as ``startup`` has it; once it was it is, whatever comes."""
        self._started |= started
        states = {STARTUP: self._started, LIVENESS: True, READINESS: in_service, "": ready}
        response = health_pb2.HealthCheckResponse
        for name, good in states.items():
            await self._servicer.set(name, response.SERVING if good else response.NOT_SERVING)


class HealthServer:
    """The health service alone, without TLS: for probes that know none, as those of Kubernetes."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        """``port`` 0: a free one."""
        self._health = health
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Opens the port. Raises OSError when it is taken."""
        # Else another process could listen on the same port, and answer for this one.
        server = grpc.aio.server(maximum_concurrent_rpcs=_MOST_CALLS, options=[("grpc.so_reuseport", 0)])
        self._health.add_to(server)
        try:
            self.port = server.add_insecure_port(self._address)
        except RuntimeError:
            raise OSError(f"cannot listen on {self._address} for health; set platform.health_port") from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Closes the port."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0)
