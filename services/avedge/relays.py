"""What the service asks of its workers, be there one in its own process or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from parley.proto.avedge.v1.relay_pb2 import AllocationState
from parley.stun.addresses import Family
from services.avedge.worker import Worker


class Relays(Protocol):
    """All that relays."""

    @property
    def ready(self) -> bool:
        """Whether every client is served."""

    @property
    def workers(self) -> int:
        """How many share the clients."""

    @property
    def allocations(self) -> int:
        """How many there are."""

    @property
    def plane(self) -> str:
        """The name of what moves packets."""

    def drain(self, alternates: Mapping[Family, str]) -> None:
        """New allocations go elsewhere, or are refused; those that live go on."""

    def resume(self) -> None:
        """Takes new allocations again."""

    async def listing(self, limit: int) -> list[AllocationState]:
        """The allocations, oldest first, at most ``limit``."""

    async def stop(self) -> None:
        """Ends all allocations and closes all sockets."""


class OwnProcess:
    """One worker in the process of the service."""

    ready = True
    workers = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def allocations(self) -> int:
        """See Relays."""
        return self._worker.allocations

    @property
    def plane(self) -> str:
        """See Relays."""
        return self._worker.plane.name

    def drain(self, alternates: Mapping[Family, str]) -> None:
        """See Relays."""
        self._worker.drain(alternates)

    def resume(self) -> None:
        """See Relays."""
        self._worker.resume()

    async def listing(self, limit: int) -> list[AllocationState]:
        """See Relays."""
        return self._worker.listing(limit)

    async def stop(self) -> None:
        """See Relays."""
        await self._worker.stop()
