"""The gRPC surface of the relay (proto parley.avedge.v1.Relay)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parley.platform.clock import Clock
from parley.proto.avedge.v1 import relay_pb2 as pb
from parley.proto.avedge.v1.relay_pb2_grpc import RelayServicer
from services.avedge.relays import Relays

_USUAL = 1_000
_MOST = 10_000


class RelaySurface(RelayServicer):
    """What the relay says of itself."""

    def __init__(self, relays: Callable[[], Relays], status: Callable[[], pb.GetStatusResponse], clock: Clock) -> None:
        self._relays = relays
        self._status = status
        self._clock = clock

    async def ListAllocations(self, request: pb.ListAllocationsRequest, context: Any) -> pb.ListAllocationsResponse:
        """The allocations, oldest first."""
        relays = self._relays()
        listing = await relays.listing(min(request.limit or _USUAL, _MOST))
        return pb.ListAllocationsResponse(
            allocations=listing, total=relays.allocations, now_ms=round(self._clock.wall() * 1000)
        )

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:
        """Where it listens and how it is reached."""
        return self._status()
