"""Hot calls: many items on one stream, gathered without waiting (DESIGN section 2).

While one write is in flight, what arrives queues up and leaves together; at rest a batch is one item and nothing is
delayed. Every item has an ``id`` that its result repeats. When both ends live in one process the items gathered in one
turn of the event loop go straight to the serving function.

An item belongs to this module from the moment it is handed over until its result is there: do not change it meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop, heappush
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import Message as ProtoMessage
from grpc import StatusCode
from prometheus_client import Counter, Histogram

from parley.platform.rpc.errors import RpcError

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT", bound=Any)
ResultT = TypeVar("ResultT", bound=Any)

BatchFunction = Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]]
"""What serves a batch: one result for each item, in any order, matched by ``id``."""

MAX_BATCH: Final = 256
_SWEEP_S: Final = 0.05

_ITEMS = Counter("parley_rpc_batch_items_total", "Items of batched calls by outcome", ["method", "outcome"])
_SIZES = Histogram(
    "parley_rpc_batch_size_items",
    "Items that left together",
    ["method"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)


class StreamOpener(Protocol):
    """What a client needs of a channel; `parley.platform.rpc.channels.Channel` is one."""

    def handler(self, path: str) -> Any | None:
        """The serving method when it lives in this process."""

    def open_stream(self, path: str, request_type: type[ProtoMessage], response_type: type[ProtoMessage]) -> Any:
        """A new ``grpc.aio`` stream-stream call."""


class BatchClient(Generic[ItemT, ResultT]):
    """Calls a method whose request and response are batches: ``repeated items``, each with an ``id``."""

    def __init__(
        self,
        channel: StreamOpener,
        path: str,
        request_type: type[ProtoMessage],
        response_type: type[ProtoMessage],
        *,
        max_in_flight: int = 20_000,
    ) -> None:
        """``path``: "/parley.registrar.v1.Registrar/Update"."""
        self._channel = channel
        self._path = path
        self._request_type: Any = request_type
        self._response_type = response_type
        self._max_in_flight = max_in_flight
        self._loop = asyncio.get_running_loop()
        self._queue: list[Any] = []
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._next_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._stream: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        method = path.rpartition("/")[2]
        self._ok = _ITEMS.labels(method, "ok")
        self._failed = _ITEMS.labels(method, "failed")
        self._sizes = _SIZES.labels(method)

    async def call(self, item: ItemT, *, timeout: float) -> ResultT:
        """The result of one item; ``timeout`` in seconds. Raises RpcError, also for a result with a failed status."""
        result: ResultT = await self.submit(item, timeout=timeout)
        status = result.status
        if status.code:
            raise RpcError.from_number(status.code, status.message)
        return result

    def submit(self, item: ItemT, *, timeout: float) -> asyncio.Future[ResultT]:
        """Hands an item over; the future gets the result as it came, its status unlooked at, or RpcError."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if len(self._pending) >= self._max_in_flight:
            self._failed.inc()
            future.set_exception(RpcError(StatusCode.RESOURCE_EXHAUSTED, "too many calls in flight"))
            return future
        self._next_id += 1
        item_id = item.id = self._next_id
        self._pending[item_id] = future
        heappush(self._deadlines, (self._loop.time() + timeout, item_id))
        if self._timer is None:
            self._timer = self._loop.call_later(min(timeout, _SWEEP_S), self._sweep)
        self._queue.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    async def stop(self) -> None:
        """Ends the stream; what is in flight fails."""
        for task in (self._writer, self._reader):
            if task is not None:
                task.cancel()
        if self._stream is not None:
            self._stream.cancel()
        self._fail_all(RpcError(StatusCode.CANCELLED, "the client stopped"))
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for task in (self._writer, self._reader, *self._tasks) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _flush(self) -> None:
        self._scheduled = False
        handler = self._channel.handler(self._path)
        if handler is not None:
            while self._queue:
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                self._sizes.observe(len(batch))
                task = self._loop.create_task(self._serve_here(handler.batch_function, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        elif self._writer is None:
            self._writer = self._loop.create_task(self._write())

    async def _serve_here(self, function: BatchFunction[Any, Any], batch: list[Any]) -> None:
        try:
            self._take(await function(batch))
        except RpcError as error:
            self._fail((item.id for item in batch), error)
        except Exception:
            logger.exception("%s failed", self._path)
            self._fail((item.id for item in batch), RpcError(StatusCode.INTERNAL, "internal error"))

    async def _write(self) -> None:
        try:
            while self._queue:
                if self._stream is None:
                    self._stream = self._channel.open_stream(self._path, self._request_type, self._response_type)
                    self._reader = self._loop.create_task(self._read(self._stream))
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                self._sizes.observe(len(batch))
                await self._stream.write(self._request_type(items=batch))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            self._broken(_as_rpc_error(error))
        finally:
            self._writer = None
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    async def _read(self, stream: Any) -> None:
        error = RpcError(StatusCode.UNAVAILABLE, "the stream ended")
        try:
            async for response in stream:
                self._take(response.items)
        except grpc.aio.AioRpcError as failure:
            error = _as_rpc_error(failure)
        if stream is self._stream:
            self._broken(error)

    def _take(self, results: Sequence[Any]) -> None:
        pending = self._pending
        for result in results:
            future = pending.pop(result.id, None)
            if future is not None and not future.done():
                future.set_result(result)
        self._ok.inc(len(results))

    def _broken(self, error: RpcError) -> None:
        self._stream = None
        self._queue.clear()
        self._fail_all(error)

    def _fail_all(self, error: RpcError) -> None:
        self._fail(list(self._pending), error)

    def _fail(self, ids: Any, error: RpcError) -> None:
        for item_id in ids:
            future = self._pending.pop(item_id, None)
            if future is not None and not future.done():
                self._failed.inc()
                future.set_exception(error)

    def _sweep(self) -> None:
        now = self._loop.time()
        self._timer = None
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1] not in self._pending):
            _, item_id = heappop(deadlines)
            self._fail((item_id,), RpcError(StatusCode.DEADLINE_EXCEEDED, "no answer in time"))
        if deadlines:
            self._timer = self._loop.call_later(max(_SWEEP_S, deadlines[0][0] - now), self._sweep)


def _as_rpc_error(error: Exception) -> RpcError:
    if isinstance(error, grpc.aio.AioRpcError):
        return RpcError.from_grpc(error)
    return RpcError(StatusCode.UNAVAILABLE, "the stream ended")


def batch_handler(function: BatchFunction[Any, Any], response_type: type[ProtoMessage]) -> Any:
    """A servicer method for a stream of batches.

    Batches are served side by side; results leave together as they are ready. What ``function`` raises fails the items
    of its batch: an RpcError with its status, anything else as INTERNAL, without its text.
    """
    descriptor: Any = response_type.DESCRIPTOR.fields_by_name["items"].message_type
    result_type: Any = descriptor._concrete_class
    response: Any = response_type

    async def guarded(items: Sequence[Any]) -> Sequence[Any]:
        try:
            return await function(items)
        except RpcError as error:
            failed = error
        except Exception:
            logger.exception("a batch failed")
            failed = RpcError(StatusCode.INTERNAL, "internal error")
        status = {"code": failed.number, "message": failed.message}
        return [result_type(id=item.id, status=status) for item in items]

    async def serve(request_iterator: Any, context: Any) -> Any:
        ready: list[Any] = []
        wake = asyncio.Event()
        running: set[asyncio.Task[None]] = set()
        reading = True

        async def run(items: Sequence[Any]) -> None:
            ready.extend(await guarded(items))
            wake.set()

        async def read() -> None:
            nonlocal reading
            try:
                async for request in request_iterator:
                    task = asyncio.create_task(run(request.items))
                    running.add(task)
                    task.add_done_callback(running.discard)
            finally:
                reading = False
                wake.set()

        reader = asyncio.create_task(read())
        try:
            while reading or running or ready:
                await wake.wait()
                wake.clear()
                if ready:
                    batch, ready[:] = list(ready), []
                    yield response(items=batch)
        finally:
            reader.cancel()
            for task in running:
                task.cancel()
            await asyncio.gather(reader, *running, return_exceptions=True)

    serve.batch_function = guarded  # type: ignore[attr-defined]  # found by clients in the same process
    return serve
