"""Hot calls: many items on one stream, gathered without waiting (DESIGN section 2).

Every item has an ``id`` that its result repeats. When both ends live in one process the items gathered in one turn of the
event loop go straight to the serving function.

An item belongs to this module from the moment it is handed over until its result is there: do not change it meanwhile, and
do not change results that are used elsewhere, as within a process both ends hold the same object. The serving function runs
in a context of its own: context variables of a caller do not reach it, wherever it runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message as ProtoMessage
from grpc import StatusCode
from prometheus_client import Histogram

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.streams import MAX_BATCH, Backoff, ClientStream, Method, ServerStream, StreamOpener, method_of
from parley.platform.telemetry.counters import FastCounter

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT", bound=Any)
ResultT = TypeVar("ResultT", bound=Any)

BatchFunction = Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]]
"""What serves a batch: one result for each item, in any order, matched by ``id``."""

MAX_HELD: Final = 20_000
"""Items of one stream that a server holds before it stops reading."""
_SWEEP_S: Final = 0.05
_ROTATE_S: Final = 5.0
"""A stream costs little, and which server the next one goes to is a matter of turns: of three, each has had one in 20 s."""

_ITEMS = FastCounter("parley_rpc_batch_items_total", "Items of batched calls by outcome", ["method", "outcome"])
_SERVED = Histogram("parley_rpc_batch_duration_seconds", "Time to serve a batch", ["method"])


class BatchClient(Generic[ItemT, ResultT]):
    """Calls a method whose request and response are batches: ``repeated items``, each with an ``id``.

    It has one stream at a time. A stream that breaks fails what is in flight on it with UNAVAILABLE, and the next call opens
    another; every 5 to 7.5 seconds a new one is opened anyway, so that load spreads over servers, those that were added too.
    """

    def __init__(
        self,
        channel: StreamOpener,
        path: str,
        request_type: type[ProtoMessage],
        response_type: type[ProtoMessage],
        *,
        max_in_flight: int = 20_000,
        rotate_s: float = _ROTATE_S,
    ) -> None:
        """``path``: "/parley.registrar.v1.Registrar/Update"; ``rotate_s``: least age of a stream that is replaced."""
        self._channel = channel
        self._path = path
        self._request_type = request_type
        self._response_type = response_type
        self._max_in_flight = max_in_flight
        self._rotate_s = rotate_s
        self._loop = asyncio.get_running_loop()
        self._context = Context()
        self._queue: list[Any] = []
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._next_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._scheduled = False
        self._stream: ClientStream | None = None
        self._streams: set[ClientStream] = set()
        self._rotate_at = 0.0
        self._backoff = Backoff()
        self._tasks: set[asyncio.Task[None]] = set()
        method = path.rpartition("/")[2]
        self._ok = _ITEMS.labels(method, "ok")
        self._failed = _ITEMS.labels(method, "failed")

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
        deadline = self._loop.time() + timeout
        heappush(self._deadlines, (deadline, item_id))
        if self._timer is None or deadline < self._timer_at:
            self._sweep_at(deadline)
        self._queue.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush, context=self._context)
        return future

    async def stop(self) -> None:
        """Ends the streams; what is in flight fails."""
        self._queue.clear()
        self._fail(list(self._pending), RpcError(StatusCode.CANCELLED, "the client stopped"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.clear()
        streams, self._stream = list(self._streams), None
        self._streams.clear()
        for stream in streams:
            await stream.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Sending

    def _flush(self) -> None:
        self._scheduled = False
        queue, self._queue = self._queue, []
        if not queue:
            return
        method = method_of(self._channel.handler(self._path))
        if method is not None and method.batch_function is not None:
            for start in range(0, len(queue), MAX_BATCH):
                work = self._serve_here(method.batch_function, queue[start : start + MAX_BATCH])
                task = self._loop.create_task(work, context=Context())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return
        try:
            self._open_stream(queue[0].id).send(queue)
        except RpcError as error:
            self._fail((item.id for item in queue), error)

    async def _serve_here(self, function: BatchFunction[Any, Any], batch: list[Any]) -> None:
        try:
            self._take(await function(batch))
        except Exception:
            logger.exception("%s failed", self._path)
            self._fail((item.id for item in batch), RpcError(StatusCode.INTERNAL, "internal error"))

    def _open_stream(self, first_id: int) -> ClientStream:
        """The stream that is to be used from ``first_id`` on. Raises RpcError."""
        now = self._loop.time()
        stream = self._stream
        if stream is not None and now < self._rotate_at:
            return stream
        refusal = self._backoff.refusal(now)
        if refusal is not None:
            raise refusal
        call = self._channel.open_stream(self._path, self._request_type, self._response_type)
        self._leave(first_id - 1)
        stream = ClientStream(
            call, self._request_type, self._path, first_id=first_id, on_items=self._on_items, on_end=self._on_end
        )
        self._stream = stream
        self._streams.add(stream)
        self._rotate_at = now + self._rotate_s * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
        return stream

    def _leave(self, last_id: int) -> None:
        """Lets the present stream, if any, end once it has answered."""
        if self._stream is not None:
            self._stream.finish(last_id)
            self._stream = None

    # Receiving

    def _on_items(self, stream: ClientStream, results: Sequence[Any]) -> None:
        if results:
            self._backoff.succeeded()
            self._take(results)
        elif stream is self._stream:
            self._leave(self._queue[0].id - 1 if self._queue else self._next_id)

    def _take(self, results: Sequence[Any]) -> None:
        pending = self._pending
        for result in results:
            future = pending.pop(result.id, None)
            if future is not None and not future.done():
                future.set_result(result)
        self._ok.inc(len(results))

    def _on_end(self, stream: ClientStream, error: RpcError) -> None:
        self._streams.discard(stream)
        last = stream.last_id
        if stream is self._stream:
            self._stream = None
            last = self._queue[0].id - 1 if self._queue else self._next_id
            if self._backoff.failed(error, self._loop.time()):
                logger.warning("%s is away: %s", self._path, error)
        if last is None:
            return  # the client is stopping, and has failed what was in flight
        lost = [item_id for item_id in self._pending if stream.first_id <= item_id <= last]
        if lost:
            logger.debug("%s: %d calls are lost: %s", self._path, len(lost), error)
            self._fail(lost, error)

    def _fail(self, ids: Iterable[int], error: RpcError) -> None:
        for item_id in ids:
            future = self._pending.pop(item_id, None)
            if future is not None and not future.done():
                self._failed.inc()
                future.set_exception(error.again())

    # Deadlines

    def _sweep_at(self, deadline: float) -> None:
        """Sets the one timer, which looks at most twenty times a second."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = max(deadline, self._loop.time() + _SWEEP_S)
        self._timer = self._loop.call_at(self._timer_at, self._sweep, context=self._context)

    def _sweep(self) -> None:
        now = self._loop.time()
        self._timer = None
        deadlines, pending = self._deadlines, self._pending
        late: list[int] = []
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1] not in pending):
            late.append(heappop(deadlines)[1])
        if late:
            self._fail(late, RpcError(StatusCode.DEADLINE_EXCEEDED, "no answer in time"))
        if deadlines:
            self._sweep_at(deadlines[0][0])


def batch_handler(function: BatchFunction[Any, Any], response_type: type[ProtoMessage], *, max_held: int = MAX_HELD) -> Any:
    """A servicer method for a stream of batches.

    Batches are served side by side; results leave together as they are ready. What ``function`` raises fails the items of
    its batch: an RpcError with its status, anything else as INTERNAL, without its text. An item without a result fails as
    INTERNAL too. ``max_held``: items of one stream that may be served at a time, before no more are read.
    """
    guarded = _Guard(function, response_type)
    method = Method()
    method.batch_function = guarded.serve

    async def serve(request_iterator: Any, context: Any) -> None:
        loop = asyncio.get_running_loop()
        stream = ServerStream(response_type, max_held)
        running: set[asyncio.Task[None]] = set()

        async def run(items: Sequence[Any]) -> None:
            try:
                stream.send(await guarded.serve(items))
            finally:
                stream.hold(-len(items))

        def take(items: Sequence[Any]) -> None:
            stream.hold(len(items))
            task = loop.create_task(run(items))
            running.add(task)
            task.add_done_callback(running.discard)

        method.streams.add(stream)
        try:
            await stream.run(request_iterator, context, take)
        finally:
            method.streams.discard(stream)
            tasks = list(running)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    serve.parley_method = method  # type: ignore[attr-defined]  # found by clients in the same process
    return serve


class _Guard:
    """Answers every item, whatever the function does."""

    def __init__(self, function: BatchFunction[Any, Any], response_type: type[ProtoMessage]) -> None:
        self._function = function
        descriptor: Any = response_type.DESCRIPTOR.fields_by_name["items"].message_type
        self._result_type: Any = descriptor._concrete_class
        self._name = getattr(function, "__qualname__", type(function).__name__)
        self._served = _SERVED.labels(response_type.DESCRIPTOR.name.removesuffix("Response"))

    async def serve(self, items: Sequence[Any]) -> Sequence[Any]:
        """One result for each item."""
        begun = time.perf_counter()
        try:
            results = await self._function(items)
        except RpcError as error:
            return self._failures(items, error)
        except Exception:
            logger.exception("%s failed", self._name)
            return self._failures(items, RpcError(StatusCode.INTERNAL, "internal error"))
        finally:
            self._served.observe(time.perf_counter() - begun)
        if len(results) < len(items):
            answered = {result.id for result in results}
            left = [item for item in items if item.id not in answered]
            logger.error("%s gave no result for %d of %d items", self._name, len(left), len(items))
            return [*results, *self._failures(left, RpcError(StatusCode.INTERNAL, "internal error"))]
        return results

    def _failures(self, items: Sequence[Any], error: RpcError) -> list[Any]:
        status = {"code": error.number, "message": error.message}
        return [self._result_type(id=item.id, status=status) for item in items]
