"""Puts device updates together for a process."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

from parley.platform.clock import Clock
from parley.platform.lifecycle import ServiceContext
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.repeats import Repeats
from parley.proto.addressbook.v1.device_updates_pb2_grpc import add_DeviceUpdatesServicer_to_server
from services.addressbook.blobs import BlobStore
from services.addressbook.devices.config import DevicesConfig
from services.addressbook.devices.reports import AuditLog, DeviceLogs
from services.addressbook.devices.repository import DeviceRepository
from services.addressbook.devices.service import NAME, DeviceUpdatesSurface
from services.addressbook.devices.uploads import Uploads
from services.addressbook.files.metrics import SWEPT

logger = logging.getLogger(__name__)

GRACE_S: Final = 86_400.0
"""How long files are kept that no rule has: between an upload and the rule, and for devices that fetch them."""
_EVERY_S: Final = 600.0


class DeviceUpdates:
    """What a process has of device updates."""

    def __init__(self, store: Store, clock: Clock, config: DevicesConfig) -> None:
        self._clock = clock
        self.blobs = BlobStore(store, clock, "devices")
        self.repository = DeviceRepository(store, self.blobs)
        self.audit = AuditLog(store, clock, config)
        self.logs = DeviceLogs(store, clock, self.blobs, config)
        uploads = Uploads(self.repository, self.logs, self.blobs, clock, config)
        self.surface = DeviceUpdatesSurface(
            self.repository, uploads, self.audit, self.blobs, clock, server=socket.gethostname()
        )  # fmt: skip

    async def sweep(self) -> None:
        """Removes logs that are old, and files that nobody refers to. Raises StoreError."""
        await self.logs.sweep()
        await self.repository.sweep(round(self._clock.wall() * 1000), round(GRACE_S * 1000))
        used = await self.repository.blobs_in_use() | await self.logs.blobs_in_use()
        if swept := await self.blobs.sweep(used, grace_s=GRACE_S):
            SWEPT.labels("devices").inc(swept)

    async def run(self) -> None:
        """Sweeps until cancelled. Every process does; doing it twice does no harm."""
        repeats = Repeats(self._clock.monotonic)
        while True:
            try:
                await self.sweep()
                repeats.over()
            except StoreError as error:
                if repeats.is_due(str(error)):
                    logger.info("what devices do not need is removed later: %s", error)
            await asyncio.sleep(_EVERY_S)


def add_device_updates(context: ServiceContext, config: DevicesConfig) -> DeviceUpdates:
    """Puts the gRPC surface up."""
    made = DeviceUpdates(context.store, context.clock, config)
    context.rpc.add_service(add_DeviceUpdatesServicer_to_server, made.surface, NAME, context.tracer)
    return made
