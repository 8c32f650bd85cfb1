"""One stream of batches, from both ends: what `BatchClient`, `DuplexClient` and their handlers stand on.

A message of a stream has the one field ``repeated items``. While one write is in flight, what arrives queues up and leaves
together; at rest a batch is one item and nothing is delayed. A response without items asks the client to put further items
on another stream: a server that stops says so, and serves what it has.

Invariants: the end of a stream is told exactly once; nothing that belongs to one caller (its context variables) reaches the
tasks of a stream, as these serve everybody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import Message as ProtoMessage
from grpc import StatusCode
from prometheus_client import Histogram

from parley.platform.rpc.errors import RpcError

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 256
"""Most items of one message."""

_SIZES = Histogram(
    "parley_rpc_batch_size_items",
    "Items that left together",
    ["method"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
_BROKEN: Final = (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError)
_FIRST_WAIT_S: Final = 0.025
_LONGEST_WAIT_S: Final = 0.5
_LASTING: Final = frozenset(
    {StatusCode.UNIMPLEMENTED, StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED, StatusCode.RESOURCE_EXHAUSTED}
)


class StreamOpener(Protocol):
    """What a client needs of a channel; `parley.platform.rpc.channels.Channel` is one."""

    def handler(self, path: str) -> Any | None:
        """The serving method when it lives in this process."""

    def open_stream(self, path: str, request_type: type[ProtoMessage], response_type: type[ProtoMessage]) -> Any:
        """A new ``grpc.aio`` stream-stream call. Raises RpcError."""


def stream_error(error: Exception) -> RpcError:
    """Why a stream broke: UNAVAILABLE, but for what another try does not mend either."""
    if isinstance(error, grpc.aio.AioRpcError):
        code = error.code()
        return RpcError(code if code in _LASTING else StatusCode.UNAVAILABLE, error.details() or "the stream broke")
    return RpcError(StatusCode.UNAVAILABLE, "the stream ended")


class Backoff:
    """When a stream that failed may be opened again: at once after the first failure, then ever later, up to 0.5 s."""

    __slots__ = ("_error", "_failures", "_until")

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0
        self._error = RpcError(StatusCode.UNAVAILABLE, "the peer is away")

    def refusal(self, now: float) -> RpcError | None:
        """Why no stream may be opened now; None when one may."""
        return self._error.again() if now < self._until else None

    def failed(self, error: RpcError, now: float) -> bool:
        """A stream broke at ``now`` (seconds, of the loop); True for the first in a row."""
        if self._failures:
            longest = min(_FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 10), _LONGEST_WAIT_S)
            self._until = now + longest * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
        self._failures += 1
        self._error = error
        return self._failures == 1

    def succeeded(self) -> None:
        """Something came from the peer."""
        self._failures = 0
        self._until = 0.0


class ClientStream:
    """The calling end of one stream. ``first_id`` and ``last_id`` bound the items that went on it."""

    __slots__ = (
        "_call",
        "_ended",
        "_finishing",
        "_loop",
        "_on_end",
        "_on_items",
        "_queue",
        "_reader",
        "_request_type",
        "_sizes",
        "_writer",
        "first_id",
        "last_id",
    )

    def __init__(
        self,
        call: Any,
        request_type: type[ProtoMessage],
        path: str,
        *,
        first_id: int,
        on_items: Callable[[ClientStream, Sequence[Any]], None],
        on_end: Callable[[ClientStream, RpcError], None],
    ) -> None:
        """``call``: what `StreamOpener.open_stream` gave. ``on_end`` is told once, unless `stop` ends it."""
        self._call = call
        self._request_type: Any = request_type
        self._on_items = on_items
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._queue: list[Any] = []
        self._finishing = False
        self._ended = False
        self._sizes = _SIZES.labels(path.rpartition("/")[2])
        self._writer: asyncio.Task[None] | None = None
        self.first_id = first_id
        self.last_id: int | None = None
        self._reader = self._loop.create_task(self._read(), context=Context())

    def send(self, items: list[Any]) -> None:
        """Sends items, with those that wait already."""
        self._queue += items
        self._write_soon()

    def finish(self, last_id: int) -> None:
        """Says that nothing follows ``last_id``; what was sent is still answered."""
        self.last_id = last_id
        self._finishing = True
        self._write_soon()

    async def stop(self) -> None:
        """Ends it now, without telling."""
        self._ended = True
        self._call.cancel()
        tasks = [task for task in (self._writer, self._reader) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _write_soon(self) -> None:
        if self._writer is None and not self._ended:
            self._writer = self._loop.create_task(self._write(), context=Context())

    async def _write(self) -> None:
        queue = self._queue
        try:
            while queue:
                batch = queue[:MAX_BATCH]
                del queue[:MAX_BATCH]
                self._sizes.observe(len(batch))
                await self._call.write(self._request_type(items=batch))
            if self._finishing:
                await self._call.done_writing()
        except _BROKEN as error:
            self._end(stream_error(error))
        finally:
            self._writer = None

    async def _read(self) -> None:
        error = RpcError(StatusCode.UNAVAILABLE, "the stream ended")
        try:
            async for response in self._call:
                self._on_items(self, response.items)
        except _BROKEN as failure:
            error = stream_error(failure)
        self._end(error)

    def _end(self, error: RpcError) -> None:
        if not self._ended:
            self._ended = True
            self._queue.clear()
            self._call.cancel()
            self._on_end(self, error)


class ServerStream:
    """The serving end of one stream: what is sent while a write is in flight leaves together.

    ``limit`` bounds what is held for a client: as long as that many items are being served or wait to be sent, no more are
    read.
    """

    __slots__ = ("_held", "_leaving", "_limit", "_reading", "_ready", "_response_type", "_room", "_wake")

    def __init__(self, response_type: type[ProtoMessage], limit: int) -> None:
        self._response_type: Any = response_type
        self._limit = limit
        self._ready: list[Any] = []
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._held = 0
        self._reading = True
        self._leaving = False

    def send(self, items: Sequence[Any]) -> None:
        """Sends items to the client."""
        self._ready.extend(items)
        self._wake.set()

    def leave(self) -> None:
        """Asks the client to put further items on another stream."""
        self._leaving = True
        self._wake.set()

    def hold(self, count: int) -> None:
        """So many more items are being served; negative: so many fewer."""
        self._held += count
        if self._held + len(self._ready) >= self._limit:
            self._room.clear()
        else:
            self._room.set()
        if not self._held:
            self._wake.set()

    async def run(
        self, requests: Any, context: grpc.aio.ServicerContext[Any, Any], take: Callable[[Sequence[Any]], None]
    ) -> None:
        """Reads and writes until the client said all and has got every answer."""
        reader = asyncio.get_running_loop().create_task(self._read(requests, take))
        try:
            while self._reading or self._held or self._ready:
                if self._leaving:
                    self._leaving = False
                    await context.write(self._response_type())
                if self._ready:
                    await self._write(context)
                    continue
                self._wake.clear()
                await self._wake.wait()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _write(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        batch = self._ready[:MAX_BATCH]
        del self._ready[:MAX_BATCH]
        await context.write(self._response_type(items=batch))
        self.hold(0)

    async def _read(self, requests: Any, take: Callable[[Sequence[Any]], None]) -> None:
        try:
            async for request in requests:
                take(request.items)
                if not self._room.is_set():
                    await self._room.wait()
        finally:
            self._reading = False
            self._wake.set()


class Method:
    """What a serving method knows of itself besides grpc: how it is called here, and its open streams."""

    __slots__ = ("batch_function", "new_session", "streams")

    def __init__(self) -> None:
        self.batch_function: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]] | None = None
        self.new_session: Callable[[], Any] | None = None
        self.streams: set[ServerStream] = set()

    def leave(self) -> None:
        """Asks the clients of all streams to go elsewhere."""
        for stream in self.streams:
            stream.leave()


def method_of(handler: Any) -> Method | None:
    """What `batch_handler` and `duplex_handler` made besides the function; None for other methods."""
    found = getattr(handler, "parley_method", None)
    return found if isinstance(found, Method) else None
