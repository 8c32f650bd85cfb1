"""NOTIFY and BENOTIFY of the event package ``conference``: at most one an interval for each subscription, the newest state.

What changes meanwhile is gathered; who it is about is told without delay. Versions of documents are the numbers of the
notifications, so each subscriber sees them rise by one (RFC 4575 section 4.4). A second try has a later number, so it tells
everything.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter, Histogram

from parley.conference.documents import INFO_TYPE, full_document, partial_document
from parley.conference.uris import ConferenceName
from parley.platform.applications.dialogs import DialogSender, request_in
from parley.platform.applications.edges import FlowGone
from parley.platform.events.api import Event
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.tracing import Tracer
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from services.conference.repository import ConferenceRepository

logger = logging.getLogger(__name__)

_NOTIFIED = Counter("parley_conference_notifications_total", "Notifications of conferences, by outcome", ["outcome"])
_DELAY = Histogram(
    "parley_conference_fanout_seconds", "Time from a change to the notification of a subscriber",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip

_ENDING: Final = frozenset({404, 405, 410, 416, 481, 482, 483, 484, 485, 489, 501, 604})
"""Answers to NOTIFY that end the subscription (RFC 6665 section 4.2.2)."""
_MAX_LINKS: Final = 32
_AGAIN_S: Final = 1.0
_MOST_TRIES: Final = 300
"""By then it is not that something is away: no front end can send it."""
_STOP_S: Final = 3.0


@dataclass(slots=True)
class Pending:
    """What a subscription is to be told."""

    users: set[str] = field(default_factory=set)
    description: bool = False
    view: bool = False
    full: bool = False
    """Everything is to be told, whatever changed."""
    since_ms: int = 0
    traceparents: list[str] = field(default_factory=list)
    urgent: asyncio.Event = field(default_factory=asyncio.Event)
    """It is about the subscriber, who is told at once: its client shows nothing until it knows that it is in."""
    tries: int = 0
    """How often it could not be told, as something was away."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.users or self.description or self.view or self.full)

    def add(self, changed: ConferenceChanged, traceparent: str) -> None:
        """One change more."""
        self.users.update(changed.users)
        self.description |= changed.kind == ConferenceChanged.KIND_MODIFIED
        self.view |= changed.kind == ConferenceChanged.KIND_LOCKED
        self.since_ms = self.since_ms or changed.at_ms
        if traceparent and len(self.traceparents) < _MAX_LINKS:
            self.traceparents.append(traceparent)

    def take_back(self, untold: Pending) -> None:
        """What could not be told; it is told with the rest."""
        self.users |= untold.users
        self.description |= untold.description
        self.view |= untold.view
        self.full |= untold.full
        self.since_ms = untold.since_ms or self.since_ms
        self.traceparents = [*untold.traceparents, *self.traceparents][:_MAX_LINKS]
        self.tries = untold.tries + 1


class Notifier:
    """All notifications of this process."""

    def __init__(
        self, repository: ConferenceRepository, sender: DialogSender, tasks: Tasks, tracer: Tracer, *, interval_s: float,
        again_s: float = _AGAIN_S, stop_s: float = _STOP_S,
    ) -> None:  # fmt: skip
        """``interval_s``: between two of a subscription; ``again_s``: until one is tried again that could not be sent.

        ``stop_s``: how long what waits may still take at the end.
        """
        self._repository = repository
        self._sender = sender
        self._tasks = tasks
        self._tracer = tracer
        self._interval_s = interval_s
        self._again_s = again_s
        self._stop_s = stop_s
        self._pending: dict[tuple[str, str], Pending] = {}
        self._telling: dict[tuple[str, str], asyncio.Task[None]] = {}
        """Who tells each subscription."""

    async def on_conference_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.conferences``. Raises StoreError: the event comes again."""
        changed: ConferenceChanged = event.message
        name = ConferenceName(changed.organizer, changed.conference_id)
        conference = await self._repository.conference(name)
        for watcher in conference.watchers if conference is not None else ():
            key = (name.key, watcher.id)
            pending = self._pending.get(key)
            if pending is None:
                pending = self._start(name, watcher.id, Pending())
            pending.add(changed, event.traceparent)
            if watcher.dialog.aor in changed.users:
                pending.urgent.set()

    def begin(self, name: ConferenceName, watcher_id: str, traceparent: str = "") -> None:
        """Everything, at once: the client shows nothing before.

        A notification that is under way is not waited for: it may be for a connection that the client has left.
        """
        before = self._telling.get((name.key, watcher_id))
        if before is not None:
            before.cancel()
        self._start(name, watcher_id, Pending(full=True, traceparents=[traceparent] if traceparent else []))

    async def stop(self) -> None:
        """Tells what waits, without an interval, as its events come no more; ends what is under way after a while."""
        self._interval_s = 0.0
        for pending in self._pending.values():
            pending.urgent.set()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._stop_s
        while (telling := [task for task in self._telling.values() if not task.done()]) and (left := end - loop.time()) > 0:
            await asyncio.wait(telling, timeout=left)  # meanwhile others may begin
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)

    def _start(self, name: ConferenceName, watcher_id: str, pending: Pending) -> Pending:
        key = (name.key, watcher_id)
        self._pending[key] = pending
        self._telling[key] = self._tasks.once("conference notify", self._flush(name, watcher_id))
        return pending

    async def _flush(self, name: ConferenceName, watcher_id: str) -> None:
        """Tells what is pending, until nothing is."""
        key = (name.key, watcher_id)
        try:
            while True:
                pending = self._pending[key]
                if pending.is_empty:
                    return
                self._pending[key] = Pending()
                if await self._tell(name, watcher_id, pending) or pending.tries >= _MOST_TRIES:
                    await _pause(self._pending[key].urgent, self._interval_s)
                else:
                    self._pending[key].take_back(pending)
                    await asyncio.sleep(self._again_s)
        finally:
            if self._telling.get(key) is asyncio.current_task():  # else it is told anew by another
                del self._telling[key], self._pending[key]

    async def _tell(self, name: ConferenceName, watcher_id: str, pending: Pending) -> bool:
        """False when something of ours is away, so that it has to be told again."""
        try:
            conference = await self._repository.conference(name)
            watcher = next((one for one in conference.watchers if one.id == watcher_id), None) if conference else None
            if conference is None or watcher is None:
                return True
            number = await self._repository.next_number(name, watcher_id)
        except StoreError as error:
            logger.warning("a participant of %s is told later: %s", name.focus, error)
            return False
        if pending.full or pending.tries:  # the number of the try before is missing, and so may be what it told
            body = full_document(conference, number)
        else:
            body = partial_document(
                conference, number, pending.users, description=pending.description, view=pending.view
            )  # fmt: skip
        return await self._send(name, watcher, number, body, pending)

    async def _send(self, name: ConferenceName, watcher: pb.Watcher, number: int, body: bytes, pending: Pending) -> bool:
        """Sends a document that tells of changes. False when no front end took it."""
        left = max(0, (watcher.expires_at_ms - self._repository.now_ms()) // 1000)
        method = "BENOTIFY" if watcher.best_effort else "NOTIFY"
        span = self._tracer.start(
            "conference.notify", kind="producer", parent="",
            attributes={"sip.method": method, "sip.call_id": watcher.dialog.call_id, "sip.aor": watcher.dialog.aor},
            links=tuple(pending.traceparents),
        )  # fmt: skip
        headers = [("Event", "conference"), ("Subscription-State", f"active;expires={left}"), ("Content-Type", INFO_TYPE)]
        request = request_in(watcher.dialog, method, number, headers, body)
        outcome = "failed"
        try:
            if watcher.best_effort:
                await self._sender.send(watcher.dialog, request, traceparent=span.traceparent)
                outcome = "sent"
            else:
                answer = await self._sender.request(watcher.dialog, request, traceparent=span.traceparent)
                outcome = "refused" if answer.status in _ENDING else "sent"
        except FlowGone:
            outcome = "unreachable"
        except RpcError as error:
            outcome = "later"
            logger.info("a notification to %s waits: %s", watcher.dialog.aor, error)
        finally:
            _NOTIFIED.labels(outcome).inc()
            span.end("ok" if outcome == "sent" else "error")
        if outcome == "refused":
            await self._forget(name, watcher.id)
        elif outcome == "sent" and pending.since_ms:
            _DELAY.observe(max(0, self._repository.now_ms() - pending.since_ms) / 1000)
        return outcome != "later"

    async def finish(self, name: ConferenceName, watcher: pb.Watcher) -> None:
        """The last notification of a subscription."""
        method = "BENOTIFY" if watcher.best_effort else "NOTIFY"
        try:
            number = await self._repository.next_number(name, watcher.id)
            headers = [("Event", "conference"), ("Subscription-State", "terminated;reason=noresource")]
            request = request_in(watcher.dialog, method, number, headers)
            if watcher.best_effort:
                await self._sender.send(watcher.dialog, request)
            else:
                await self._sender.request(watcher.dialog, request)
            await self._repository.forget_numbers(name, watcher.id)
        except (RpcError, StoreError) as error:
            logger.info("the end of a subscription could not be told: %s", error)

    async def _forget(self, name: ConferenceName, watcher_id: str) -> None:
        try:
            await self._repository.remove_watcher(name, watcher_id)
        except StoreError as error:
            logger.info("a subscription ends later: %s", error)


async def _pause(urgent: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await urgent.wait()
    except TimeoutError:
        pass
