"""Exchanges: an item opens one, several events answer it, further items of the same ``id`` go on with it.

`Edge.Deliver` and `Application.Handle` are such: a request has provisional and final responses, and can be cancelled.
All exchanges with one peer share one stream of batches; when it breaks, every open exchange is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import Message as ProtoMessage
from grpc import StatusCode

from parley.platform.rpc.batch import MAX_BATCH, StreamOpener
from parley.platform.rpc.errors import RpcError

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT", bound=Any)
EventT = TypeVar("EventT", bound=Any)


class Session(Protocol):
    """The serving side of one stream."""

    def on_item(self, item: Any, send: Callable[[Any], None]) -> None:
        """An item came; events may be sent at once or later, as long as the stream lives."""

    def on_closed(self) -> None:
        """The stream ended: nobody waits for what is open."""


class DuplexClient(Generic[ItemT, EventT]):
    """The calling side of all exchanges with one peer."""

    def __init__(
        self,
        channel: StreamOpener,
        path: str,
        request_type: type[ProtoMessage],
        response_type: type[ProtoMessage],
    ) -> None:
        self._channel = channel
        self._path = path
        self._request_type: Any = request_type
        self._response_type = response_type
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[int, Callable[[Any], None]] = {}
        self._queue: list[Any] = []
        self._next_id = 0
        self._scheduled = False
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._stream: Any = None
        self._session: Session | None = None

    def open(self, item: ItemT, on_event: Callable[[EventT | RpcError], None]) -> int:
        """Begins an exchange; its id is returned. ``on_event`` gets its events, and RpcError when the stream breaks."""
        self._next_id += 1
        item.id = self._next_id
        self._handlers[self._next_id] = on_event
        self._enqueue(item)
        return self._next_id

    def send(self, item: ItemT) -> None:
        """A further item of an exchange, its ``id`` set."""
        self._enqueue(item)

    def close(self, item_id: int) -> None:
        """Wants no further events of an exchange."""
        self._handlers.pop(item_id, None)

    async def stop(self) -> None:
        """Ends the stream."""
        tasks = [task for task in (self._writer, self._reader) if task is not None]
        for task in tasks:
            task.cancel()
        if self._stream is not None:
            self._stream.cancel()
        if self._session is not None:
            self._session.on_closed()
            self._session = None
        await asyncio.gather(*tasks, return_exceptions=True)
        self._handlers.clear()

    def _enqueue(self, item: Any) -> None:
        self._queue.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        handler = self._channel.handler(self._path)
        if handler is not None:
            if self._session is None:
                self._session = handler.new_session()
            batch, self._queue = self._queue, []
            for item in batch:
                self._session.on_item(item, self._soon)
        elif self._writer is None:
            self._writer = self._loop.create_task(self._write())

    def _soon(self, event: Any) -> None:
        self._loop.call_soon(self._take, event)

    def _take(self, event: Any) -> None:
        handler = self._handlers.get(event.id)
        if handler is not None:
            handler(event)

    async def _write(self) -> None:
        try:
            while self._queue:
                if self._stream is None:
                    self._stream = self._channel.open_stream(self._path, self._request_type, self._response_type)
                    self._reader = self._loop.create_task(self._read(self._stream))
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                await self._stream.write(self._request_type(items=batch))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            self._broken(_unavailable(error))
        finally:
            self._writer = None
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    async def _read(self, stream: Any) -> None:
        error = RpcError(StatusCode.UNAVAILABLE, "the stream ended")
        try:
            async for response in stream:
                for event in response.items:
                    self._take(event)
        except grpc.aio.AioRpcError as failure:
            error = _unavailable(failure)
        if stream is self._stream:
            self._broken(error)

    def _broken(self, error: RpcError) -> None:
        self._stream = None
        self._queue.clear()
        handlers, self._handlers = list(self._handlers.values()), {}
        for handler in handlers:
            handler(error)


def _unavailable(error: Exception) -> RpcError:
    if isinstance(error, grpc.aio.AioRpcError):
        return RpcError.from_grpc(error)
    return RpcError(StatusCode.UNAVAILABLE, "the stream ended")


def duplex_handler(new_session: Callable[[], Session], response_type: type[ProtoMessage]) -> Any:
    """A servicer method for a stream of exchanges; ``new_session`` is called for every stream."""
    response: Any = response_type

    async def serve(request_iterator: Any, context: Any) -> Any:
        session = new_session()
        ready: list[Any] = []
        wake = asyncio.Event()
        reading = True

        def send(event: Any) -> None:
            ready.append(event)
            wake.set()

        async def read() -> None:
            nonlocal reading
            try:
                async for request in request_iterator:
                    for item in request.items:
                        try:
                            session.on_item(item, send)
                        except Exception:
                            logger.exception("an item of %s failed", type(session).__name__)
            finally:
                reading = False
                wake.set()

        reader = asyncio.create_task(read())
        try:
            while reading or ready:
                await wake.wait()
                wake.clear()
                if ready:
                    batch, ready[:] = list(ready), []
                    yield response(items=batch)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            session.on_closed()

    serve.new_session = new_session  # type: ignore[attr-defined]  # found by clients in the same process
    return serve
