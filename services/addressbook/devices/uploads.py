"""Files that are sent in parts: those of updates, by administrators, and logs, by devices."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from grpc import StatusCode

from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1 import device_updates_pb2 as pb
from services.addressbook.blobs import Blob, BlobDamaged, BlobGone, BlobStore, BlobWriter
from services.addressbook.devices.config import DevicesConfig
from services.addressbook.devices.metrics import UPLOADS
from services.addressbook.devices.reports import MAX_LOGS, DeviceLogs, ReportError, check_log_name
from services.addressbook.devices.repository import DeviceRepository

logger = logging.getLogger(__name__)

_SHA256: Final = 32
_MAX_TEXT: Final = 255


class Uploads:
    """The calls of the surface that take and give files."""

    def __init__(
        self, repository: DeviceRepository, logs: DeviceLogs, blobs: BlobStore, clock: Clock, config: DevicesConfig
    ) -> None:
        self._repository = repository
        self._logs = logs
        self._blobs = blobs
        self._clock = clock
        self._config = config

    async def update_file(
        self, requests: AsyncIterator[pb.UploadUpdateFileRequest], context: Any
    ) -> pb.UploadUpdateFileResponse:
        """A file of an update; it counts once all of it has come and is what was said."""
        try:
            known = await self._update_file(requests)
        except RpcError:
            UPLOADS.labels("update", "refused").inc()
            raise
        except StoreError as error:
            UPLOADS.labels("update", "failed").inc()
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        UPLOADS.labels("update", "known" if known else "taken").inc()
        return pb.UploadUpdateFileResponse(known=known)

    async def _update_file(self, requests: AsyncIterator[pb.UploadUpdateFileRequest]) -> bool:
        first = await anext(aiter(requests), None)
        if first is None or len(first.sha256) != _SHA256:
            raise RpcError(StatusCode.INVALID_ARGUMENT, "the first message has to tell size and SHA-256 of the file")
        if not 0 < first.size <= self._config.max_file_bytes:
            raise RpcError(
                StatusCode.INVALID_ARGUMENT,
                f"a file has 1 to {self._config.max_file_bytes} bytes; see addressbook.devices.max_file_bytes",
            )
        checksum = first.sha256.hex()
        if await self._repository.file(checksum) is not None:
            return True
        if await self._repository.total_bytes() + first.size > self._config.max_total_bytes:
            raise RpcError(
                StatusCode.RESOURCE_EXHAUSTED,
                f"all files of updates together have at most {self._config.max_total_bytes} bytes; remove rules that are "
                "not needed, or see addressbook.devices.max_total_bytes",
            )
        blob = await self._write(first.data, requests, first.size)
        if (blob.size, blob.sha256) != (first.size, first.sha256):
            await self._blobs.drop(blob.id)
            raise RpcError(StatusCode.INVALID_ARGUMENT, "what came is not the file that was announced; send it again")
        now = round(self._clock.wall() * 1000)
        await self._repository.keep_file(checksum, pb.KeptUpdateFile(blob=blob.id, size=blob.size, uploaded_at_ms=now))
        logger.info("a file of device updates was uploaded: %d bytes, SHA-256 %s", blob.size, checksum)
        return False

    async def _write(self, data: bytes, requests: AsyncIterator[Any], most: int) -> Blob:
        """Writes what comes. Raises RpcError for more than so many bytes, StoreError; nothing is left of it then."""
        writer = await self._blobs.writer()
        try:
            await self._add(writer, data, most)
            async for request in requests:
                await self._add(writer, request.data, most)
            return await writer.finish()
        except BaseException:
            await self._drop(writer)
            raise

    async def _add(self, writer: BlobWriter, data: bytes, most: int) -> None:
        if writer.size + len(data) > most:
            raise RpcError(StatusCode.INVALID_ARGUMENT, f"it is larger than the {most} bytes that it may have")
        await writer.add(data)

    async def _drop(self, writer: BlobWriter) -> None:
        try:
            await self._blobs.drop(writer.id)
        except StoreError:
            logger.debug("what was sent in part is removed later, as the store is away")

    async def device_log(
        self, requests: AsyncIterator[pb.UploadDeviceLogRequest], context: Any
    ) -> pb.UploadDeviceLogResponse:
        """A log of a device."""
        try:
            log = await self._device_log(requests)
        except ReportError as error:
            UPLOADS.labels("log", "refused").inc()
            raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
        except RpcError:
            UPLOADS.labels("log", "refused").inc()
            raise
        except StoreError as error:
            UPLOADS.labels("log", "failed").inc()
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        UPLOADS.labels("log", "taken").inc()
        return pb.UploadDeviceLogResponse(log=log)

    async def _device_log(self, requests: AsyncIterator[pb.UploadDeviceLogRequest]) -> pb.DeviceLog:
        first = await anext(aiter(requests), None)
        told = first.log if first is not None else pb.DeviceLog()
        check_log_name(told.name, self._config.log_extensions)
        room = await self._logs.room()
        if room <= 0:
            raise _no_room()
        blob = await self._write(first.data if first is not None else b"", requests, room)
        if not blob.size:
            await self._blobs.drop(blob.id)
            raise ReportError("the log is empty")
        log = pb.DeviceLog(
            name=told.name, size=blob.size, sha256=blob.sha256, user=told.user[:_MAX_TEXT], client=told.client[:64]
        )
        kept = await self._logs.keep(log, blob.id)
        if kept is None:
            await self._blobs.drop(blob.id)
            raise _no_room()
        return kept

    async def list_logs(self, request: pb.ListDeviceLogsRequest, context: Any) -> pb.ListDeviceLogsResponse:
        """A page of logs."""
        count = min(request.page_size or 100, 1_000)
        if request.page_token and not (request.page_token.isascii() and request.page_token.isdigit()):
            raise RpcError(StatusCode.INVALID_ARGUMENT, "the token is none of this list")
        first = int(request.page_token[:9] or 0)
        try:
            logs = await self._logs.page(first, count)
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        token = str(first + count) if len(logs) == count else ""
        return pb.ListDeviceLogsResponse(logs=logs, next_page_token=token)

    async def read_log(self, request: pb.ReadDeviceLogRequest, context: Any) -> AsyncIterator[pb.ReadDeviceLogResponse]:
        """The whole of a log."""
        try:
            kept = await self._logs.get(request.id)
            if kept is None:
                raise RpcError(StatusCode.NOT_FOUND, "there is no such log")
            async for data in self._blobs.read(kept.blob, kept.log.size):
                yield pb.ReadDeviceLogResponse(data=data)
        except BlobGone as error:
            raise RpcError(StatusCode.NOT_FOUND, str(error)) from None
        except BlobDamaged as error:
            raise RpcError(StatusCode.DATA_LOSS, str(error)) from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None

    async def delete_log(self, request: pb.DeleteDeviceLogRequest, context: Any) -> pb.DeleteDeviceLogResponse:
        """One log less."""
        try:
            if not await self._logs.remove(request.id):
                raise RpcError(StatusCode.NOT_FOUND, "there is no such log")
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return pb.DeleteDeviceLogResponse()


def _no_room() -> RpcError:
    return RpcError(
        StatusCode.RESOURCE_EXHAUSTED,
        f"there is no room for further logs, which are at most {MAX_LOGS}; remove some, or see "
        "addressbook.devices.max_logs_bytes",
    )
