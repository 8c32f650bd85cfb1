"""Sends NOTIFY and BENOTIFY: at once, then at most once an interval for each subscription, and always the newest state.

What changes meanwhile is gathered, and the document is made when it is sent: after its number is taken, so of two
notifications on their way at a time, from whichever processes, the one with the higher number tells the later state.
A client whose connection is gone is looked for among its registrations; a subscription nobody answers for is ended.
While a front end, the registrar or the store is away a notification waits: either it is back soon, or the front end's lease
ends, and its connections are gone; so it does while a client is registered with a connection that is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable
from typing import Final

from grpc import StatusCode
from prometheus_client import Counter as Count
from prometheus_client import Histogram

from parley.platform.applications.edges import EdgeSender, FlowGone
from parley.platform.applications.registrations import Registrations
from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.repeats import Repeats
from parley.platform.telemetry.tracing import Tracer
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.message import Request
from services.presence.documents import Documents, Pending
from services.presence.lists import list_uri
from services.presence.packages import WATCHERS
from services.presence.repository import PresenceRepository
from services.presence.views import EMPTY, Changes, Document

logger = logging.getLogger(__name__)

_NOTIFIED = Count("parley_presence_notifications_total", "Notifications, by event package and outcome", ["event", "outcome"])
_DELAY = Histogram(
    "parley_presence_fanout_seconds", "Time from a change to the notification of a subscriber",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip

_ENDING: Final = frozenset({404, 405, 410, 416, 481, 482, 483, 484, 485, 489, 501, 604})
"""Answers to NOTIFY that end the subscription (RFC 6665 section 4.2.2)."""
_LIMIT: Final = 100_000
_MAX_LINKS: Final = 32
_AGAIN_S: Final = 1.0
_MOST_TRIES: Final = 300
"""By then it is not that something is away: no front end can send it."""
_STOP_S: Final = 3.0


class Notifier:
    """All notifications of this process."""

    def __init__(
        self, repository: PresenceRepository, sender: EdgeSender, documents: Documents, finder: Registrations, clock: Clock,
        tracer: Tracer, *, interval_s: float, again_s: float = _AGAIN_S, stop_s: float = _STOP_S,
    ) -> None:  # fmt: skip
        """``interval_s``: between two of a subscription; ``again_s``: until one is tried again that could not be sent.

        ``stop_s``: how long what waits may still take at the end.
        """
        self._repository = repository
        self._sender = sender
        self._documents = documents
        self._finder = finder
        self._clock = clock
        self._tracer = tracer
        self._interval_s = interval_s
        self._again_s = again_s
        self._stop_s = stop_s
        self._stopping = asyncio.Event()
        self._repeats = Repeats()
        self._pending: dict[str, Pending] = {}
        self._sent_at: dict[str, float] = {}
        self._under_way: Counter[str] = Counter()
        """Notifications of each subscription that are not answered yet: the next one waits, so none overtakes another."""
        self._in_turn: dict[str, deque[tuple[pb.Subscription, Pending, Document]]] = {}
        """Documents of each subscription that are made already: one is sent after the other."""
        self._tasks: set[asyncio.Future[object]] = set()

    def tell(self, subscription: pb.Subscription, pending: Pending) -> None:
        """Notifies a subscriber, now or with what else comes within the interval."""
        known = self._pending.get(subscription.id)
        if known is not None:
            for aor, changes in pending.changes.items():
                known.changes.setdefault(aor, Changes()).add(changes)
            known.traceparents = [*known.traceparents, *pending.traceparents][-_MAX_LINKS:]
            known.full |= pending.full
            known.tries = max(known.tries, pending.tries)
            known.since = min((since for since in (known.since, pending.since) if since), default=0.0)
            known.states.clear()
            return
        self._pending[subscription.id] = pending
        wait = self._wait(subscription)
        if wait > 0 or subscription.id in self._under_way:
            pending.states.clear()  # it would be old by then
        self._spawn(self._flush(subscription, wait))

    def begin(self, subscription: pb.Subscription, traceparent: str = "") -> None:
        """Everything, at once: every SUBSCRIBE is due a NOTIFY (RFC 6665 section 4.2.1.2)."""
        self._pending.pop(subscription.id, None)
        self._note_sent(subscription)
        pending = Pending(since=self._clock.wall(), traceparents=[traceparent], full=True)
        self._spawn(self._deliver(subscription, pending))

    def send(self, subscription: pb.Subscription, document: Document, traceparent: str = "") -> None:
        """Sends a document as it is, in its turn (changes of contacts, each of which counts)."""
        pending = Pending(since=self._clock.wall(), traceparents=[traceparent])
        waiting = self._in_turn.get(subscription.id)
        if waiting is not None:
            waiting.append((subscription, pending, document))
        else:
            self._in_turn[subscription.id] = deque([(subscription, pending, document)])
            self._spawn(self._send_in_turn(subscription.id))

    async def _send_in_turn(self, subscription_id: str) -> None:
        waiting = self._in_turn[subscription_id]
        try:
            while waiting:
                try:
                    done = await self._deliver(*waiting[0])
                except Exception:  # what comes after it is no worse
                    logger.exception("a notification of %s is left out", waiting[0][0].event)
                    done = True
                if done:
                    waiting.popleft()
                else:
                    await asyncio.sleep(self._again_s)
        finally:
            del self._in_turn[subscription_id]

    async def answer_fetch(self, subscription: pb.Subscription, traceparent: str = "") -> None:
        """The one NOTIFY of a subscription that is not kept (RFC 6665 section 4.4.3). Raises StoreError, RpcError."""
        made = await self._documents.make(subscription, Pending(full=True), 0, room=float("inf"))
        self._spawn(self._send_last(subscription, _request(subscription, 1, made.document, _ended("timeout")), traceparent))

    async def finish(self, subscription: pb.Subscription, reason: str, traceparent: str = "") -> None:
        """Ends a subscription, and tells so (RFC 6665 section 4.4.1). Raises StoreError."""
        self._pending.pop(subscription.id, None)
        number = await self._repository.next_number(subscription)
        if await self._repository.end(subscription, reason, traceparent) and number:
            request = _request(subscription, number, EMPTY, _ended(reason))
            self._spawn(self._send_last(subscription, request, traceparent))

    async def _send_last(self, subscription: pb.Subscription, request: Request, traceparent: str) -> None:
        outcome = "failed"
        try:
            outcome = await self._send(subscription, request, traceparent)
        except (FlowGone, RpcError, StoreError) as error:
            logger.info("the end of a subscription could not be told: %s", error)
        _NOTIFIED.labels(subscription.event, outcome).inc()

    async def stop(self) -> None:
        """Tells what waits, without an interval, as its events come no more; ends what is under way after a while."""
        self._stopping.set()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._stop_s
        while self._tasks and (left := end - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)  # some begin others
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note_sent(self, subscription: pb.Subscription) -> None:
        if len(self._sent_at) > _LIMIT:
            self._sent_at.clear()
        self._sent_at[subscription.id] = asyncio.get_running_loop().time()

    def _wait(self, subscription: pb.Subscription) -> float:
        """Seconds until a subscriber may be told again."""
        if self._stopping.is_set():
            return 0.0
        last = self._sent_at.get(subscription.id, float("-inf"))
        return max(0.0, last + self._interval_s - asyncio.get_running_loop().time())

    async def _flush(self, subscription: pb.Subscription, wait: float) -> None:
        if wait:
            await _pause(self._stopping, wait)
        if subscription.id in self._under_way:
            return  # the end of that one looks at what is pending
        pending = self._pending.pop(subscription.id, None)
        if pending is not None:  # else the client was told everything meanwhile
            self._note_sent(subscription)
            await self._deliver(subscription, pending)

    async def _deliver(self, subscription: pb.Subscription, pending: Pending, document: Document | None = None) -> bool:
        """Sends what is pending, or a document that is made already; False when that one has to be sent again."""
        self._under_way[subscription.id] += 1
        try:
            outcome = await self._deliver_now(subscription, pending, document)
            if outcome == "later" and document is None:
                self.tell(subscription, pending)
                await asyncio.sleep(self._again_s)
            return outcome != "later"
        finally:
            self._under_way[subscription.id] -= 1
            if not self._under_way[subscription.id]:
                del self._under_way[subscription.id]
                if subscription.id in self._pending:
                    self._spawn(self._flush(subscription, self._wait(subscription)))

    async def _deliver_now(self, subscription: pb.Subscription, pending: Pending, document: Document | None) -> str:
        """How it went: as `_send` has it, "gone" without a subscription, "later" when something of ours is away."""
        event = subscription.event
        method = _method(subscription)
        span = self._tracer.start(
            f"presence.notify {event}", kind="producer", parent="",
            attributes={"sip.method": method, "sip.call_id": subscription.call_id, "sip.aor": subscription.watcher},
            links=tuple(link for link in pending.traceparents if link),
        )  # fmt: skip
        outcome = "failed"
        try:
            number = await self._repository.next_number(subscription)
            if number:
                if document is None:
                    document = await self._make(subscription, pending, number)
                request = _request(subscription, number, document, self._state(subscription, document))
                outcome = await self._send(subscription, request, span.traceparent)
                self._repeats.over()
            else:
                outcome = "gone"
                await self._repository.forget(subscription, {subscription.target, *pending.changes})
        except (RpcError, StoreError) as error:
            pending.tries += 1
            pending.full |= event == WATCHERS  # a version is missing, and no client takes changes after that
            outcome = "later" if pending.tries < _MOST_TRIES else "failed"
            if self._repeats.is_due(str(error)):
                logger.info("a notification of %s to %s waits: %s", event, subscription.watcher, error)
        finally:
            _NOTIFIED.labels(event, outcome).inc()
            span.end("ok" if outcome == "sent" else "error")
        if outcome == "sent" and pending.since:
            _DELAY.observe(max(0.0, self._clock.wall() - pending.since))
        elif outcome in ("refused", "unreachable"):
            await self._end(subscription)
        return outcome

    async def _make(self, subscription: pb.Subscription, pending: Pending, number: int) -> Document:
        made = await self._documents.make(subscription, pending, number - 1)
        if made.rest:
            self.tell(subscription, Pending(made.rest, pending.since, pending.traceparents))
        return made.document

    def _state(self, subscription: pb.Subscription, document: Document) -> str:
        left = max(0, (subscription.expires_at_ms - int(self._clock.wall() * 1000)) // 1000)
        return f"{'pending' if document.pending else 'active'};expires={left}"

    async def _send(self, subscription: pb.Subscription, request: Request, traceparent: str) -> str:
        """How it went: "sent", "failed" when there was no answer, "refused" when the client wants no more, "unreachable".

        Who is unreachable is not registered any more. Raises RpcError, StoreError when it has to be tried again.
        """
        moved = False
        while True:
            outcome = await self._send_once(subscription, request, traceparent)
            if outcome in ("sent", "refused") or (moved and outcome == "failed"):
                return outcome
            if moved:  # it moves on; where it is now is asked anew at the next try
                raise RpcError(StatusCode.UNAVAILABLE, "the client is between two connections")
            if not await self._follow(subscription, needed=outcome == "unreachable"):
                return outcome
            moved = True

    async def _send_once(self, subscription: pb.Subscription, request: Request, traceparent: str) -> str:
        try:
            if subscription.best_effort:
                await self._sender.send(request, subscription.flow, traceparent=traceparent)
                return "sent"
            answer = await self._sender.request(request, subscription.flow, traceparent=traceparent)
        except FlowGone:
            return "unreachable"
        if answer.status == 408:
            return "failed"
        return "refused" if answer.status in _ENDING else "sent"

    async def _follow(self, subscription: pb.Subscription, *, needed: bool) -> bool:
        """Whether the client has another connection, which it is reached by from now on.

        ``needed``: the one before is gone for sure. Else it does not answer, as when it broke and nobody was told; nothing
        is tried again then for want of the registrar or the store.
        """
        try:
            flow = await self._finder.find(
                subscription.watcher, subscription.endpoint, subscription.remote_target, subscription.flow
            )
            return flow is not None and await self._repository.move(subscription, flow)
        except (RpcError, StoreError):
            if needed:
                raise
            return False

    async def _end(self, subscription: pb.Subscription) -> None:
        try:
            await self._repository.end(subscription)
        except StoreError as error:
            logger.info("a subscription ends later: %s", error)


async def _pause(until: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        pass


def _method(subscription: pb.Subscription) -> str:
    return "BENOTIFY" if subscription.best_effort else "NOTIFY"


def _ended(reason: str) -> str:
    return f"terminated;reason={reason}"


def _request(subscription: pb.Subscription, number: int, document: Document, state: str) -> Request:
    """A notification in the dialog of a subscription."""
    method = _method(subscription)
    event = f"{subscription.event};id={subscription.event_id}" if subscription.event_id else subscription.event
    headers = [
        ("Max-Forwards", "70"),
        ("From", subscription.local_party),
        ("To", subscription.remote_party),
        ("Call-ID", subscription.call_id),
        ("CSeq", f"{number} {method}"),
        ("Contact", contact_of(subscription)),
        ("Event", event),
        ("Subscription-State", state),
    ]
    headers += [("Route", route) for route in subscription.routes]
    if subscription.list:
        headers.append(("Require", "eventlist"))
    if document.body:
        headers.append(("Content-Type", document.content_type))
    return Request.create(method, subscription.remote_target, headers=headers, body=document.body)


def contact_of(subscription: pb.Subscription) -> str:
    """The Contact of our side: it says whose subscription it is, so any front end brings further requests here."""
    return f"<{list_uri(subscription)}>" if subscription.list_name else f"<{subscription.target};opaque=app:presence>"
