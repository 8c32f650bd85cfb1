"""Who watches presence by gRPC: people and scripts, each on a stream, told the newest state whenever they can take one.

The service's events say who changed, and are listened to only while somebody watches; what is told is read from the store
then. A watch that has not taken the last change keeps no more than the addresses that changed since.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from grpc import StatusCode
from prometheus_client import Gauge

from parley.platform.events.api import Event, EventBus, Subscription
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import presence_pb2 as api
from services.presence.repository import PRESENCE_TOPIC, PresenceRepository
from services.presence.summary import user_state
from services.presence.users import Users

logger = logging.getLogger(__name__)

_WATCHES: Final = Gauge("parley_presence_watches", "Watches of people and scripts, by gRPC")

MAX_WATCHES: Final = 200
MAX_ADDRESSES: Final = 1_000
_MAX_WAITING: Final = 50_000
_AT_A_TIME: Final = 100
_AGAIN_S: Final = 1.0

Send = Callable[[api.PresenceChange], None]


class Watches:
    """All watches of this process."""

    def __init__(self, repository: PresenceRepository, users: Users, events: EventBus, tasks: Tasks) -> None:
        self.repository = repository
        self.users = users
        self._events = events
        self._tasks = tasks
        self._open: set[_Watch] = set()
        self._subscription: Subscription | None = None

    def new_session(self) -> Session:
        """For a stream; see `parley.platform.rpc.duplex.Session`."""
        return Session(self)

    def begin(self, item: api.PresenceWatch, send: Send) -> _Watch | None:
        """Opens a watch; None when it is refused, which is told."""
        if len(self._open) >= MAX_WATCHES:
            send(_failure(item.id, StatusCode.RESOURCE_EXHAUSTED, f"there are {MAX_WATCHES} watches already"))
            return None
        if len(item.addresses) > MAX_ADDRESSES:
            send(_failure(item.id, StatusCode.INVALID_ARGUMENT, f"a watch is of at most {MAX_ADDRESSES} users"))
            return None
        if self._subscription is None:
            self._subscription = self._events.subscribe(PRESENCE_TOPIC, PresenceChanged, self._on_presence_changed)
        watch = _Watch(self, item.id, list(item.addresses), send)
        self._open.add(watch)
        _WATCHES.set(len(self._open))
        watch.task = self._tasks.once("presence watch", watch.run(self._subscription))
        watch.task.add_done_callback(lambda _: self._ended(watch))
        return watch

    def _ended(self, watch: _Watch) -> None:
        self._open.discard(watch)
        _WATCHES.set(len(self._open))
        if not self._open and self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            self._tasks.once("end of presence watches", subscription.stop())

    async def _on_presence_changed(self, event: Event) -> None:
        for watch in self._open:
            watch.changed(event.message.aor)


class Session:
    """The watches of one stream."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._open: dict[int, _Watch] = {}

    def on_item(self, item: api.PresenceWatch, send: Callable[[Any], None]) -> None:
        """A new watch, or what its client says."""
        watch = self._open.get(item.id)
        if watch is None:
            if not (item.end or item.taken):
                begun = self._watches.begin(item, send)
                if begun is not None:
                    self._open[item.id] = begun
        elif item.end:
            del self._open[item.id]
            watch.stop()
        elif item.taken:
            watch.taken()

    def on_closed(self) -> None:
        """Nobody listens any more."""
        for watch in self._open.values():
            watch.stop()
        self._open.clear()


class _Watch:
    """One watch: a task that tells, and what it has to tell."""

    def __init__(self, watches: Watches, number: int, wanted: Sequence[str], send: Send) -> None:
        self._watches = watches
        self._number = number
        self._wanted = wanted
        self._send = send
        self._all = not wanted
        self._addresses: set[str] = set()
        self._waiting: dict[str, None] = {}
        self._told: dict[str, bytes] = {}
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.task: asyncio.Task[None] | None = None

    def changed(self, aor: str) -> None:
        """A user's presence is not what it was."""
        if (self._all and len(self._waiting) <= _MAX_WAITING) or aor in self._addresses:
            self._waiting[aor] = None
            self._something.set()

    def taken(self) -> None:
        """The client took the last change."""
        self._room.set()

    def stop(self) -> None:
        """Ends it without a word."""
        if self.task is not None:
            self.task.cancel()

    async def run(self, subscription: Subscription) -> None:
        """Tells what there is, then what changes."""
        try:
            await self._resolve()
            if not self._all:
                await self._tell()  # at once, also while the bus is away
            await subscription.ready()
            if self._all:
                self._say([])
            self._waiting.update(dict.fromkeys(self._addresses))  # what changed before events were heard
            while True:
                await self._tell()
                await self._something.wait()
        except RpcError as error:
            self._send(_failure(self._number, error.code, error.message))
        except Exception:
            self._send(_failure(self._number, StatusCode.INTERNAL, "internal error"))
            raise

    async def _resolve(self) -> None:
        """Who is meant. Raises RpcError."""
        for text in self._wanted:
            found = await self._watches.users.find(text)
            if found is None:
                raise RpcError(StatusCode.NOT_FOUND, f"there is no user {text}")
            self._addresses.add(found[0])
        self._waiting.update(dict.fromkeys(self._addresses))

    async def _tell(self) -> None:
        """Tells everything that waits. Raises RpcError when that is more than can be kept."""
        while self._waiting:
            await self._room.wait()
            if len(self._waiting) > _MAX_WAITING:
                raise RpcError(StatusCode.RESOURCE_EXHAUSTED, "more changes than were taken")
            aors = list(self._waiting)[:_AT_A_TIME]
            for aor in aors:
                del self._waiting[aor]
            try:
                found = await self._watches.repository.versioned(aors)
                await self._watches.users.named([state for state, _ in found])
            except (StoreError, RpcError) as error:
                logger.info("a watch is told later: %s", error)
                self._waiting.update(dict.fromkeys(aors))
                await asyncio.sleep(_AGAIN_S)
                continue
            news = [news for state, version in found if self._is_news(news := user_state(state, version))]
            if news:
                self._say(news)
        self._something.clear()

    def _is_news(self, state: api.UserState) -> bool:
        """Whether it is not what was told last; a change may be of something that is not shown here."""
        told = api.UserState()
        told.CopyFrom(state)
        told.version = 0
        content = told.SerializeToString(deterministic=True)
        if self._told.get(state.address) == content:
            return False
        if len(self._told) >= _MAX_WAITING:
            self._told.clear()
        self._told[state.address] = content
        return True

    def _say(self, states: Sequence[api.UserState]) -> None:
        self._room.clear()
        self._send(api.PresenceChange(id=self._number, states=states))


def _failure(number: int, code: StatusCode, message: str) -> api.PresenceChange:
    change = api.PresenceChange(id=number)
    change.status.code = code.value[0]
    change.status.message = message
    return change
