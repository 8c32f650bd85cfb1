"""The gRPC surface of address-book files (proto parley.addressbook.v1.AddressBookFiles)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from grpc import StatusCode

from parley.addressbook.files.names import BookName
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1 import book_files_pb2 as pb
from parley.proto.addressbook.v1.book_files_pb2_grpc import AddressBookFilesServicer
from services.addressbook.blobs import BlobDamaged, BlobGone, BlobStore
from services.addressbook.files.manifest import PROBLEM, Manifest
from services.addressbook.files.metrics import READ
from services.addressbook.files.runs import Busy, FileRuns, Spawn

NAME: Final = "parley.addressbook.v1.AddressBookFiles"


class BookFilesSurface(AddressBookFilesServicer):
    """Lists, reads and makes files."""

    def __init__(
        self, store: Store, manifest: Manifest, blobs: BlobStore, runs: FileRuns | None, spawn: Spawn
    ) -> None:  # fmt: skip
        """``runs``: None when no files are made; ``spawn``: runs a coroutine in the background."""
        self._store = store
        self._manifest = manifest
        self._blobs = blobs
        self._runs = runs
        self._spawn = spawn

    async def ListFiles(self, request: pb.ListFilesRequest, context: Any) -> pb.ListFilesResponse:
        """All files; none while no layout is configured."""
        if self._runs is None:
            return pb.ListFilesResponse()
        try:
            known = await self._manifest.current()
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return pb.ListFilesResponse(files=[kept.file for kept in known.manifest.files])

    async def GetFile(self, request: pb.GetFileRequest, context: Any) -> pb.GetFileResponse:
        """One file."""
        return pb.GetFileResponse(file=(await self._find(request.name)).file)

    async def ReadFile(self, request: pb.ReadFileRequest, context: Any) -> AsyncIterator[pb.ReadFileResponse]:
        """A part of a file."""
        kept = await self._find(request.name)
        if request.sha256 and request.sha256 != kept.file.sha256:
            raise RpcError(StatusCode.NOT_FOUND, f"{kept.file.name} was replaced by another")
        if request.first > kept.file.size:
            raise RpcError(StatusCode.OUT_OF_RANGE, f"{kept.file.name} has {kept.file.size} bytes")
        try:
            async for data in self._blobs.read(kept.blob, kept.file.size, request.first, request.count or None):
                READ.inc(len(data))
                yield pb.ReadFileResponse(data=data)
        except BlobGone as error:
            raise RpcError(StatusCode.NOT_FOUND, str(error)) from None
        except BlobDamaged as error:
            raise RpcError(StatusCode.DATA_LOSS, str(error)) from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None

    async def MakeFiles(self, request: pb.MakeFilesRequest, context: Any) -> pb.MakeFilesResponse:
        """Begins a run."""
        if self._runs is None:
            raise _off()
        try:
            if await self._runs.lease.is_held():
                raise Busy
            self._runs.begin(self._spawn)
        except Busy:
            raise RpcError(StatusCode.ABORTED, "the files are being made") from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return pb.MakeFilesResponse()

    async def GetFilesStatus(self, request: pb.GetFilesStatusRequest, context: Any) -> pb.GetFilesStatusResponse:
        """What the last run made."""
        if self._runs is None:
            return pb.GetFilesStatusResponse()
        try:
            known = await self._manifest.current()
            running = await self._runs.lease.is_held()
            problem, at = await self._store.execute("HMGET", PROBLEM, "text", "at")
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        manifest = known.manifest
        return pb.GetFilesStatusResponse(
            enabled=True, running=running, made_at_ms=manifest.made_at_ms, day=manifest.day, entries=manifest.entries,
            files=len(manifest.files), bytes=sum(kept.file.size for kept in manifest.files),
            problem=(problem or b"").decode("utf-8", "replace"), problem_at_ms=int(at or 0),
        )  # fmt: skip

    async def _find(self, text: str) -> pb.KeptFile:
        name = BookName.parse(text)
        if self._runs is None or name is None:
            raise RpcError(StatusCode.NOT_FOUND, "there is no such file")
        try:
            kept = (await self._manifest.current()).by_name.get(str(name).lower())
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        if kept is None:
            raise RpcError(StatusCode.NOT_FOUND, f"there is no {name}")
        return kept


def _off() -> RpcError:
    return RpcError(
        StatusCode.FAILED_PRECONDITION,
        "no address-book files are made, as parts of their layout are not confirmed; set addressbook.files.layout to "
        "unconfirmed to make them for readers of Parley",
    )
