"""The standard health service (grpc.health.v1) of a process, with two names.

``liveness`` is that the event loop answers; ``readiness``, also asked as "", is that listeners are open and nothing drains.
A missing Redis or Kafka is in neither.
"""

from __future__ import annotations

from typing import Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

LIVENESS: Final = "liveness"
READINESS: Final = "readiness"


class Health:
    """What a process says of itself."""

    def __init__(self) -> None:
        self._servicer = HealthServicer()

    def add_to(self, server: Any) -> None:
        """Serves it on a ``grpc.aio`` server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, *, live: bool, ready: bool) -> None:
        """Changes it; who watches is told."""
        states = {LIVENESS: live, READINESS: ready, "": ready}
        response = health_pb2.HealthCheckResponse
        for name, good in states.items():
            await self._servicer.set(name, response.SERVING if good else response.NOT_SERVING)
