"""The lease by which others know that this front end lives."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import KeepLeaseRequest

if TYPE_CHECKING:
    from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarAsyncStub

logger = logging.getLogger(__name__)

_HELD: Final = Gauge("parley_frontend_lease_held", "1 while the lease of this front end is in force, else 0", ["edge"])


class LeaseKeeper:
    """Renews the lease three times within its length."""

    def __init__(
        self, registrar: RegistrarAsyncStub, edge_uid: str, address: str, seconds: float, *, first_connection: int
    ) -> None:
        """``first_connection``: number of the first flow of this run; bindings over earlier ones are swept."""
        self._registrar = registrar
        self._request = KeepLeaseRequest(
            edge_uid=edge_uid, address=address, ttl_ms=round(seconds * 1000), first_connection=first_connection
        )
        self._held = _HELD.labels(edge_uid)
        self.begun = asyncio.Event()
        """Set once it was in force."""
        self._seconds = seconds
        self._interval = seconds / 3

    async def run(self) -> None:
        """Renews until cancelled; a registrar that is away is asked again soon."""
        away = False
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        while True:
            begun = loop.time()
            try:
                await self._registrar.KeepLease(self._request, timeout=self._interval)
                if away:
                    logger.info("the lease is renewed again")
                away = False
                lost_at = begun + self._seconds
                self._held.set(1)
                self.begun.set()
            except RpcError as error:
                if not away:
                    logger.warning("the lease could not be renewed: %s", error)
                away = True
                if loop.time() >= lost_at:
                    self._held.set(0)
            await asyncio.sleep(min(self._interval, 0.5) if away else self._interval)

    async def release(self, *, keep_bindings: bool) -> None:
        """Ends the lease now rather than when it runs out, unless this front end is about to come back."""
        if keep_bindings:
            return
        request = KeepLeaseRequest(edge_uid=self._request.edge_uid, release=True)
        try:
            await self._registrar.KeepLease(request, timeout=1.0)
        except RpcError as error:
            logger.info("the lease could not be ended: %s", error)
