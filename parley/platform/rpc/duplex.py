"""Exchanges: an item opens one, several events answer it, further items of the same ``id`` go on with it.

`Edge.Deliver` and `Application.Handle` are such: a request has provisional and final responses, and can be cancelled.
All exchanges with one peer share one stream of batches; when it breaks, every open exchange is told, and the serving side
learns that nobody waits any more. As in `parley.platform.rpc.batch`, items and events belong to the other side once they are
handed over, and context variables do not cross.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Final, Generic, Protocol, TypeVar

from google.protobuf.message import Message as ProtoMessage
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.streams import Backoff, ClientStream, Method, ServerStream, StreamOpener, method_of

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT", bound=Any)
EventT = TypeVar("EventT", bound=Any)

_MAX_UNSENT: Final = 20_000
"""Events for a client that reads slowly, before no more items of it are read."""


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
        *,
        max_open: int = 50_000,
    ) -> None:
        """``path``: "/parley.sip.v1.Edge/Deliver"; ``max_open``: exchanges that may be open at a time."""
        self._channel = channel
        self._path = path
        self._request_type = request_type
        self._response_type = response_type
        self._max_open = max_open
        self._loop = asyncio.get_running_loop()
        self._context = Context()
        self._handlers: dict[int, Callable[[Any], None]] = {}
        self._queue: list[Any] = []
        self._next_id = 0
        self._scheduled = False
        self._stream: ClientStream | None = None
        self._backoff = Backoff()
        self._session: Session | None = None

    def open(self, item: ItemT, on_event: Callable[[EventT | RpcError], None]) -> int:
        """Begins an exchange; its id is returned. ``on_event`` gets its events, and RpcError when it cannot go on.

        ``on_event`` is never called before this returns.
        """
        self._next_id += 1
        item_id: int = self._next_id
        item.id = item_id
        if len(self._handlers) >= self._max_open:
            error = RpcError(StatusCode.RESOURCE_EXHAUSTED, "too many exchanges are open")
            self._loop.call_soon(on_event, error, context=self._context)
            return item_id
        self._handlers[item_id] = on_event
        self._enqueue(item)
        return item_id

    def send(self, item: ItemT) -> None:
        """A further item of an exchange, its ``id`` set; nothing when the exchange is over."""
        if item.id in self._handlers:
            self._enqueue(item)

    def close(self, item_id: int) -> None:
        """Wants no further events of an exchange; what was handed over is still sent."""
        self._handlers.pop(item_id, None)

    async def stop(self) -> None:
        """Ends the stream; open exchanges are not told."""
        self._handlers.clear()
        self._queue.clear()
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.stop()
        session, self._session = self._session, None
        if session is not None:
            session.on_closed()

    def _enqueue(self, item: Any) -> None:
        self._queue.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        self._scheduled = False
        queue, self._queue = self._queue, []
        if not queue:
            return
        method = method_of(self._channel.handler(self._path))
        if method is not None and method.new_session is not None:
            if self._session is None:
                self._session = method.new_session()
            _take_items(self._session, queue, self._soon)
            return
        try:
            if self._stream is None:
                self._stream = self._open_stream()
            self._stream.send(queue)
        except RpcError as error:
            self._fail(error)

    def _open_stream(self) -> ClientStream:
        refusal = self._backoff.refusal(self._loop.time())
        if refusal is not None:
            raise refusal
        call = self._channel.open_stream(self._path, self._request_type, self._response_type)
        return ClientStream(call, self._request_type, self._path, first_id=1, on_items=self._on_items, on_end=self._on_end)

    def _soon(self, event: Any) -> None:
        self._loop.call_soon(self._take, event, context=self._context)

    def _on_items(self, stream: ClientStream, events: Sequence[Any]) -> None:
        self._backoff.succeeded()
        for event in events:
            self._take(event)

    def _take(self, event: Any) -> None:
        handler = self._handlers.get(event.id)
        if handler is not None:
            self._tell(handler, event)

    def _tell(self, handler: Callable[[Any], None], event: Any) -> None:
        """One exchange that goes wrong does not end the others."""
        try:
            handler(event)
        except Exception:
            logger.exception("an event of %s was not handled", self._path)

    def _on_end(self, stream: ClientStream, error: RpcError) -> None:
        if stream is self._stream:
            self._stream = None
            if self._backoff.failed(error, self._loop.time()):
                logger.warning("%s is away: %s", self._path, error)
            self._fail(error)

    def _fail(self, error: RpcError) -> None:
        """Every open exchange ends, also those whose items still wait."""
        self._queue.clear()
        handlers, self._handlers = list(self._handlers.values()), {}
        for handler in handlers:
            self._tell(handler, error.again())


def _take_items(session: Session, items: Sequence[Any], send: Callable[[Any], None]) -> None:
    for item in items:
        try:
            session.on_item(item, send)
        except Exception:
            logger.exception("an item of %s failed", type(session).__name__)


def duplex_handler(new_session: Callable[[], Session], response_type: type[ProtoMessage]) -> Any:
    """A servicer method for a stream of exchanges; ``new_session`` is called for every stream.

    The events that a session sends after its stream has ended go nowhere.
    """
    method = Method()
    method.new_session = new_session

    async def serve(request_iterator: Any, context: Any) -> None:
        stream = ServerStream(response_type, _MAX_UNSENT)
        session = new_session()

        def send(event: Any) -> None:
            stream.send((event,))
            stream.hold(0)

        try:
            await stream.run(request_iterator, context, lambda items: _take_items(session, items, send))
        finally:
            session.on_closed()

    serve.parley_method = method  # type: ignore[attr-defined]  # found by clients in the same process
    return serve
