"""Page mode: a MESSAGE outside any dialog (RFC 3428).

It is answered when a device took it, or when all refused it; while no device is there it is kept, and 202 says so. A sender
who is blocked is answered as if nobody were there, by the same steps. One that is neither kept nor delivered in time is
answered 504, so that its sender knows.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from grpc import StatusCode
from prometheus_client import Counter

from parley.messaging.answers import Outcome
from parley.messaging.errors import MessagingError
from parley.messaging.iscomposing import CONTENT_TYPE as COMPOSING_TYPE
from parley.platform.applications.host import Incoming
from parley.platform.applications.users import UserNames
from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.proto.events.v1.message_pb2 import MessageUndelivered
from parley.sip.errors import SipParseError
from parley.sip.message import Request
from parley.sip.uri import aor
from services.messaging.access import AccessRules
from services.messaging.backlog import Backlog
from services.messaging.config import MessagingConfig
from services.messaging.delivery import Delivery, Result
from services.messaging.devices import Devices
from services.messaging.invitations import Spawn
from services.messaging.mailbox import Mailbox
from services.messaging.messages import Message, of_request
from services.messaging.turns import Turns
from services.messaging.undelivered import Reports, Undelivered, packed

logger = logging.getLogger(__name__)

_PAGES = Counter("parley_messaging_pages_total", "Single messages received, by outcome", ["outcome"])

_GRACE_S: Final = 4.0
"""After the longest wait for a device: the time to look things up for what waited behind another message."""
_MAX_EXPIRES_S: Final = 2**31


class Pages:
    """Takes single messages."""

    def __init__(
        self, config: MessagingConfig, registrations: Devices, delivery: Delivery, mailbox: Mailbox, backlog: Backlog,
        reports: Reports, undelivered: Undelivered, users: UserNames, access: AccessRules, clock: Clock, spawn: Spawn,
    ) -> None:  # fmt: skip
        self._config = config
        self._registrations = registrations
        self._delivery = delivery
        self._mailbox = mailbox
        self._backlog = backlog
        self._reports = reports
        self._undelivered = undelivered
        self._users = users
        self._access = access
        self._clock = clock
        self._spawn = spawn
        self._turns = Turns()

    async def handle(self, incoming: Incoming) -> None:
        """Answers a MESSAGE. Raises MessagingError, SipParseError, RpcError, StoreError."""
        sender = incoming.user_aor or aor(incoming.request.from_.uri)
        recipient = aor(incoming.request.uri)
        # From here, not from its turn: behind a device that does not answer, every message would wait longer than the last.
        answer_at = asyncio.get_running_loop().time() + self._config.answer_seconds
        limit = asyncio.timeout_at(answer_at + _GRACE_S)
        try:
            async with limit, self._turns.of(sender, recipient):
                await self._handle(incoming, sender, recipient, limit, answer_at)
        except TimeoutError:
            if not limit.expired():
                raise
            raise RpcError(
                StatusCode.DEADLINE_EXCEEDED, "the message had no turn, or no look-up an answer, in time"
            ) from None

    async def _handle(
        self, incoming: Incoming, sender: str, recipient: str, limit: asyncio.Timeout, answer_at: float
    ) -> None:
        traceparent = incoming.span.traceparent if incoming.span is not None else ""
        message = of_request(incoming.request, sender, recipient, incoming.user_name, self._clock.wall(), traceparent)
        user = await self._users.user(recipient)
        if user is None or not user.enabled:
            raise MessagingError(404, "Not Found")
        blocked = await self._access.blocked(recipient, sender)
        devices = await self._registrations.devices(recipient, traceparent)
        limit.reschedule(None)  # from here the message is delivered or kept, and that is not cut short
        if blocked or not devices:
            await self._keep(incoming, message, pretend=blocked)
            return
        sending = asyncio.ensure_future(self._delivery.deliver(message, devices, traceparent))
        try:
            async with asyncio.timeout_at(answer_at):
                result = await asyncio.shield(sending)
        except TimeoutError:
            entry_id = None
            try:
                entry_id = await self._keep(incoming, message)
            finally:
                self._spawn("late message", self._withdraw(message, sending, entry_id))
            return
        await self._answer(incoming, message, result)

    async def _answer(self, incoming: Incoming, message: Message, result: Result) -> None:
        if result.outcome is Outcome.UNREACHABLE:
            await self._keep(incoming, message)
            return
        _PAGES.labels(result.outcome.value).inc()
        incoming.reply(result.status)
        if result.outcome is Outcome.REFUSED:
            await self._undelivered.tell(message, MessageUndelivered.REASON_REFUSED, result.status, message.traceparent)
        elif result.for_recipient:
            self._reports.send(message, message.traceparent, delivered=True)

    async def _keep(self, incoming: Incoming, message: Message, *, pretend: bool = False) -> str | None:
        """Keeps a message for later and answers 202; its id in the mailbox."""
        now = self._clock.wall()
        kept = message.content.kind != COMPOSING_TYPE and expires_of(message.request, now) > now
        entry_id = None
        if kept:
            look_at_ms = int((now + self._config.retry_seconds) * 1000)
            entry_id = await self._mailbox.put(message.recipient, packed(message, now), look_at_ms, pretend=pretend)
        if entry_id is None:
            _PAGES.labels("unreachable" if not kept else "full").inc()
            incoming.reply(480)
            reason = MessageUndelivered.REASON_STORE_FULL if kept else MessageUndelivered.REASON_UNREACHABLE
            if message.content.kind != COMPOSING_TYPE:
                await self._undelivered.tell(message, reason, 480, message.traceparent)
            return None
        _PAGES.labels("blocked" if pretend else "stored").inc()
        incoming.reply(202)
        self._reports.send(message, message.traceparent, stored=True)
        if not pretend:
            self._backlog.look_soon(message.recipient)
        return entry_id

    async def _withdraw(self, message: Message, sending: asyncio.Future[Result], entry_id: str | None) -> None:
        """A device answers late: what it took need not be kept."""
        result = await sending
        if result.outcome is Outcome.DELIVERED and entry_id is not None:
            await self._mailbox.remove(message.recipient, entry_id)
            if result.for_recipient:
                self._reports.send(message, message.traceparent, delivered=True)


def expires_of(request: Request, since: float) -> float:
    """When a message is of no use any more, in seconds since 1970, by its Expires (RFC 3428 section 7)."""
    try:
        seconds = request.expires
    except SipParseError:
        seconds = None
    return since + (seconds if seconds is not None else _MAX_EXPIRES_S)
