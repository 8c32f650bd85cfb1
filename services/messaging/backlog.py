"""What was kept for users is delivered when a device of theirs signs in, in the order in which it came.

A message leaves the mailbox after a device took it, so a process that dies in between sends it once more. One process at a
time delivers what is kept for a user. What is too old is given up, and its sender told if that was asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from prometheus_client import Counter

from parley.messaging.answers import Outcome
from parley.platform.clock import Clock
from parley.platform.events.api import Event
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.store.shards import shard_of
from parley.platform.telemetry.tracing import Tracer
from parley.proto.events.v1.message_pb2 import MessageUndelivered
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.proto.messaging.v1.state_pb2 import StoredMessage
from parley.sip.errors import SipError
from parley.sip.message import Request, parse_message
from services.messaging import keys
from services.messaging.config import MessagingConfig
from services.messaging.delivery import Delivery
from services.messaging.devices import Devices
from services.messaging.invitations import Spawn
from services.messaging.mailbox import Entry, Mailbox
from services.messaging.messages import Message
from services.messaging.undelivered import Reports, Undelivered

logger = logging.getLogger(__name__)

_KEPT = Counter("parley_messaging_kept_total", "Messages that were kept, by what became of them", ["outcome"])

_HOLD_MS: Final = 15_000
_HOUR_MS: Final = 3_600_000


class Backlog:
    """Empties the mailboxes of users who are there."""

    def __init__(
        self, config: MessagingConfig, mailbox: Mailbox, registrations: Devices, delivery: Delivery, reports: Reports,
        undelivered: Undelivered, clock: Clock, tracer: Tracer, spawn: Spawn, wake: Callable[[str], None],
    ) -> None:  # fmt: skip
        """``wake``: told the key of an outbox that something was pushed to."""
        self._config = config
        self._mailbox = mailbox
        self._registrations = registrations
        self._delivery = delivery
        self._reports = reports
        self._undelivered = undelivered
        self._clock = clock
        self._tracer = tracer
        self._spawn = spawn
        self._wake = wake
        self._running: dict[str, bool] = {}

    async def on_registration_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.registrations``. Raises StoreError: the event comes again."""
        changed: RegistrationChanged = event.message
        if changed.kind == RegistrationChanged.KIND_REGISTERED and await self._mailbox.count(changed.aor):
            # The event does not come again: if this process dies before it has looked, another one looks then.
            await self._mailbox.look_again(changed.aor, self._retry_at_ms())
            self.look_soon(changed.aor)

    def look_soon(self, aor: str) -> None:
        """Looks at a mailbox in the background, again if that is under way."""
        if aor in self._running:
            self._running[aor] = True
            return
        self._running[aor] = False
        self._spawn("backlog", self._run(aor))

    async def _run(self, aor: str) -> None:
        again = True
        try:
            while again:
                self._running[aor] = False
                await asyncio.sleep(self._config.sign_in_seconds)
                await self.look(aor)
                again = self._running[aor]
        except (StoreError, RpcError) as error:
            logger.info("what is kept for a user is delivered later: %s", error)
        finally:
            del self._running[aor]

    async def on_user_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.users``: what was kept for a user ends with the user. Raises StoreError."""
        changed: UserChanged = event.message
        if changed.kind == UserChanged.KIND_DELETED:
            await self._mailbox.clear(changed.address)

    async def look(self, aor: str) -> None:
        """Delivers what is kept for a user, and gives up what is too old. Raises StoreError, RpcError."""
        if not await self._mailbox.count(aor):
            return
        lock = await self._mailbox.lock(aor, _HOLD_MS)
        if not lock:
            return
        holding = asyncio.ensure_future(self._hold(aor, lock))
        try:
            await self._mailbox.look_again(aor, self._retry_at_ms())
            while not holding.done() and (entry := await self._mailbox.first(aor)) is not None:
                if not await self._one(aor, entry):
                    break
        finally:
            holding.cancel()
            await self._mailbox.unlock(aor, lock)

    async def _hold(self, aor: str, lock: str) -> None:
        """Holds the lock on a mailbox; ends when it is lost."""
        held = True
        while held:
            await asyncio.sleep(_HOLD_MS / 3000)
            try:
                held = await self._mailbox.hold(aor, lock, _HOLD_MS)
            except StoreError as error:
                logger.info("the lock on a mailbox could not be renewed: %s", error)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    def _retry_at_ms(self) -> int:
        return self._now_ms() + int(self._config.retry_seconds * 1000)

    async def _one(self, aor: str, entry: Entry) -> bool:
        """Deals with the oldest message; False when the user cannot be reached now."""
        message = message_of(aor, entry.message)
        if message is None or entry.message is None:
            logger.error("a kept message cannot be read and is dropped")
            _KEPT.labels("unreadable").inc()
            await self._mailbox.remove(aor, entry.id)
            return True
        ends_ms = self._ends_ms(message, entry.message)
        if self._now_ms() > ends_ms:
            await self._give_up(entry, message, MessageUndelivered.REASON_EXPIRED, 408)
            return True
        devices = await self._registrations.devices(aor)
        if not devices:
            await self._wait(aor, ends_ms)
            return False
        span = self._tracer.start(
            "messaging.deliver", kind="producer", parent="", attributes={"sip.aor": aor, "sip.call_id": message.call_id},
            links=(message.traceparent,) if message.traceparent else (),
        )  # fmt: skip
        result = None
        try:
            result = await self._delivery.deliver(message, devices, span.traceparent)
        finally:
            span.end("ok" if result is not None and result.outcome is Outcome.DELIVERED else "error")
        if result.outcome is Outcome.UNREACHABLE:
            await self._mailbox.look_again(aor, self._retry_at_ms())
            return False
        if result.outcome is Outcome.REFUSED:
            await self._give_up(entry, message, MessageUndelivered.REASON_REFUSED, result.status)
            return True
        _KEPT.labels("delivered").inc()
        await self._mailbox.remove(aor, entry.id)
        if result.for_recipient:
            self._reports.send(message, span.traceparent, delivered=True)
        return True

    async def _wait(self, aor: str, ends_ms: int) -> None:
        """Leaves a mailbox alone until an event tells that its user signs in, or a message is too old.

        The event sets a time that must not be overwritten: whoever signs in before the far one is set is seen after it, and
        whoever signs in later is told of later.
        """
        await self._mailbox.look_again(aor, min(ends_ms + 1, self._now_ms() + _HOUR_MS))
        if await self._registrations.awaited(aor):
            await self._mailbox.look_again(aor, self._retry_at_ms())

    def _ends_ms(self, message: Message, stored: StoredMessage) -> int:
        """When a message is of no use any more: the time that it may be kept, or its own (RFC 3428 section 7)."""
        ends_ms = stored.stored_at_ms + int(self._config.keep_hours * _HOUR_MS)
        try:
            expires = message.request.expires
        except SipError:
            expires = None
        return ends_ms if expires is None else min(ends_ms, stored.stored_at_ms + expires * 1000)

    async def _give_up(
        self, entry: Entry, message: Message, reason: MessageUndelivered.Reason.ValueType, status: int
    ) -> None:
        _KEPT.labels(MessageUndelivered.Reason.Name(reason).removeprefix("REASON_").lower()).inc()
        event = self._undelivered.event(message, reason, status)
        if await self._mailbox.remove(message.recipient, entry.id, event, message.traceparent):
            self._wake(keys.outbox_key(shard_of(message.recipient)))
            self._reports.send(message, message.traceparent)


def message_of(aor: str, stored: StoredMessage | None) -> Message | None:
    """A kept message; None when it cannot be read."""
    if stored is None:
        return None
    try:
        request = parse_message(stored.request)
    except SipError:
        return None
    if not isinstance(request, Request):
        return None
    return Message(stored.sender, aor, request, stored.sender_name, stored.traceparent)
