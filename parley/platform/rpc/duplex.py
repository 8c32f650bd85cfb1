"""Exchanges: an item opens one, several events answer it, further items of the same ``id`` go on with it.

`Edge.Deliver` and `Application.Handle` are such: a request has provisional and final responses, and can be cancelled.
All exchanges with one peer share a stream of batches; when it breaks, every exchange that is open on it is told, and the
serving side learns that nobody waits any more. New exchanges go to a new stream now and then, so that load spreads over
servers that were added, and when the server says that it stops; those that are open go on where they began. As in
`parley.platform.rpc.batch`, items and events belong to the other side once they are handed over, and context variables do
not cross.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
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
ROTATE_S: Final = 10.0
LINGER_S: Final = 10.0
"""How long a stream that is not used any more stays open, for items that nobody waits for an answer to."""


class Session(Protocol):
    """The serving side of one stream."""

    def on_item(self, item: Any, send: Callable[[Any], None]) -> None:
        """An item came; events may be sent at once or later, as long as the stream lives."""

    def on_closed(self) -> None:
        """The stream ended: nobody waits for what is open."""


class _Lane:
    """A stream, the exchanges that are open on it, and when it was last written to (seconds, of the loop)."""

    __slots__ = ("finished", "items", "open", "stream", "used_at")

    def __init__(self, stream: ClientStream) -> None:
        self.stream = stream
        self.open: set[int] = set()
        self.items: list[Any] = []
        self.used_at = 0.0
        self.finished = False


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
        rotate_s: float = ROTATE_S,
        linger_s: float = LINGER_S,
    ) -> None:
        """``path``: "/parley.sip.v1.Edge/Deliver"; ``max_open``: exchanges that may be open at a time.

        ``rotate_s``: least age of a stream that gets no new exchanges; ``linger_s``: see `LINGER_S`.
        """
        self._channel = channel
        self._path = path
        self._request_type = request_type
        self._response_type = response_type
        self._max_open = max_open
        self._rotate_s = rotate_s
        self._linger_s = linger_s
        self._loop = asyncio.get_running_loop()
        self._context = Context()
        self._handlers: dict[int, Callable[[Any], None]] = {}
        self._queue: list[tuple[Any, _Lane | None]] = []
        """Items, and the lanes that those of known exchanges go on."""
        self._next_id = 0
        self._scheduled = False
        self._lane: _Lane | None = None
        """Where new exchanges go."""
        self._rotate_at = 0.0
        self._lanes: dict[ClientStream, _Lane] = {}
        self._lane_of: dict[int, _Lane] = {}
        self._lingering: asyncio.TimerHandle | None = None
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
        self._enqueue(item, None)
        return item_id

    def send(self, item: ItemT) -> None:
        """A further item of an exchange, its ``id`` set; nothing when the exchange is over."""
        if item.id in self._handlers:
            self._enqueue(item, self._lane_of.get(item.id))

    def close(self, item_id: int) -> None:
        """Wants no further events of an exchange; what was handed over is still sent."""
        self._handlers.pop(item_id, None)
        lane = self._lane_of.pop(item_id, None)
        if lane is not None:
            lane.open.discard(item_id)

    async def stop(self) -> None:
        """Ends the streams; open exchanges are not told."""
        self._handlers.clear()
        self._queue.clear()
        self._lane = None
        self._lane_of.clear()
        lanes, self._lanes = list(self._lanes.values()), {}
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        for lane in lanes:
            await lane.stream.stop()
        session, self._session = self._session, None
        if session is not None:
            session.on_closed()

    def _enqueue(self, item: Any, lane: _Lane | None) -> None:
        self._queue.append((item, lane))
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
            _take_items(self._session, [item for item, _ in queue], self._soon)
            return
        fresh: list[Any] = []
        used: dict[_Lane, None] = {}
        for item, lane in queue:
            if lane is None:
                fresh.append(item)
            else:
                lane.items.append(item)
                used[lane] = None
        if fresh:
            self._send_fresh(fresh, used)
        for lane in used:
            items, lane.items = lane.items, []
            if lane.stream in self._lanes:
                lane.used_at = self._loop.time()
                lane.stream.send(items)

    def _send_fresh(self, items: list[Any], used: dict[_Lane, None]) -> None:
        """Puts new exchanges on the lane that takes them; when there is none they fail."""
        ids = {item.id for item in items if item.id in self._handlers}
        try:
            lane = self._lane_for_new()
        except RpcError as error:
            self._fail(ids, error)
            return
        lane.open |= ids
        for item_id in ids:
            self._lane_of[item_id] = lane
        lane.items += items
        used[lane] = None

    def _lane_for_new(self) -> _Lane:
        """Raises RpcError when no stream can be opened."""
        now = self._loop.time()
        if self._lane is not None and now < self._rotate_at:
            return self._lane
        refusal = self._backoff.refusal(now)
        if refusal is not None:
            raise refusal
        call = self._channel.open_stream(self._path, self._request_type, self._response_type)
        self._retire()
        stream = ClientStream(call, self._request_type, self._path, first_id=1, on_items=self._on_items, on_end=self._on_end)
        self._lane = self._lanes[stream] = _Lane(stream)
        self._rotate_at = now + self._rotate_s * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
        return self._lane

    def _retire(self) -> None:
        """The lane gets no new exchanges."""
        self._lane = None
        if self._lanes and self._lingering is None:
            self._lingering = self._loop.call_later(self._linger_s, self._finish_retired, context=self._context)

    def _finish_retired(self) -> None:
        """Ends the streams that nobody needs any more, and looks again later at the others."""
        self._lingering = None
        latest = self._loop.time() - self._linger_s
        retired = [lane for lane in self._lanes.values() if lane is not self._lane and not lane.finished]
        for lane in retired:
            if not lane.open and lane.used_at <= latest:
                lane.finished = True
                lane.stream.finish(self._next_id)
        if not all(lane.finished for lane in retired):
            self._lingering = self._loop.call_later(self._linger_s, self._finish_retired, context=self._context)

    def _soon(self, event: Any) -> None:
        self._loop.call_soon(self._take, event, context=self._context)

    def _on_items(self, stream: ClientStream, events: Sequence[Any]) -> None:
        self._backoff.succeeded()
        if not events and self._lane is not None and stream is self._lane.stream:
            self._retire()  # the server stops
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
        lane = self._lanes.pop(stream, None)
        if lane is None:
            return
        if lane is self._lane:
            self._lane = None
            if self._backoff.failed(error, self._loop.time()):
                logger.warning("%s is away: %s", self._path, error)
        self._fail(lane.open, error)

    def _fail(self, ids: Iterable[int], error: RpcError) -> None:
        """Exchanges end."""
        for item_id in list(ids):
            handler = self._handlers.get(item_id)
            self.close(item_id)
            if handler is not None:
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
        method.streams.add(stream)

        def send(event: Any) -> None:
            stream.send((event,))
            stream.hold(0)

        try:
            await stream.run(request_iterator, context, lambda items: _take_items(session, items, send))
        finally:
            method.streams.discard(stream)
            session.on_closed()

    serve.parley_method = method  # type: ignore[attr-defined]  # found by clients in the same process
    return serve
