"""What is told of a message that reached nobody, or is kept: an event, and a report for a sender who asked for one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from secrets import token_hex

from prometheus_client import Counter

from parley.messaging.answers import Outcome
from parley.messaging.reports import build_report, reports_wanted, wants
from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.proto.events.v1.message_pb2 import MessageUndelivered
from parley.proto.messaging.v1.state_pb2 import StoredMessage
from services.messaging.config import MessagingConfig
from services.messaging.delivery import Delivery
from services.messaging.devices import Devices
from services.messaging.invitations import Spawn
from services.messaging.mailbox import Facts, Mailbox
from services.messaging.messages import Message, new_message

logger = logging.getLogger(__name__)

_UNDELIVERED = Counter("parley_messaging_undelivered_total", "Messages that reached nobody, by reason", ["reason"])
_REPORTS = Counter("parley_messaging_reports_total", "Delivery reports made here, by what they say", ["report"])


class Undelivered:
    """Tells of messages that are given up."""

    def __init__(self, facts: Facts, clock: Clock, wake: Callable[[str], None]) -> None:
        """``wake``: told the key of an outbox that something was pushed to."""
        self._facts = facts
        self._clock = clock
        self._wake = wake

    def event(self, message: Message, reason: MessageUndelivered.Reason.ValueType, status: int) -> MessageUndelivered:
        """The event of a message that is given up."""
        _UNDELIVERED.labels(MessageUndelivered.Reason.Name(reason).removeprefix("REASON_").lower()).inc()
        return MessageUndelivered(
            reason=reason, from_aor=message.sender, to_aor=message.recipient, call_id=message.call_id,
            at_ms=int(self._clock.wall() * 1000), status=status,
        )  # fmt: skip

    async def tell(
        self, message: Message, reason: MessageUndelivered.Reason.ValueType, status: int, traceparent: str
    ) -> None:
        """Publishes it, if it can be written down."""
        try:
            self._wake(await self._facts.tell(self.event(message, reason, status), traceparent))
        except StoreError as error:
            logger.warning("that a message reached nobody could not be told: %s", error)


class Reports:
    """Sends delivery reports to senders who asked for them (RFC 5438)."""

    def __init__(
        self, config: MessagingConfig, registrations: Devices, delivery: Delivery, mailbox: Mailbox, clock: Clock,
        spawn: Spawn,
    ) -> None:  # fmt: skip
        self._config = config
        self._registrations = registrations
        self._delivery = delivery
        self._mailbox = mailbox
        self._clock = clock
        self._spawn = spawn

    def send(self, message: Message, traceparent: str, *, stored: bool = False, delivered: bool = False) -> None:
        """Reports, in the background, that a message is stored, was delivered, or else that it failed."""
        request = reports_wanted(message.content)
        if request is None or not wants(request, stored=stored, delivered=delivered):
            return
        _REPORTS.labels("stored" if stored else "delivered" if delivered else "failed").inc()
        now = self._clock.wall()
        content = build_report(request, stored=stored, delivered=delivered, now=now, own_id=token_hex(12))
        report = new_message(message.recipient, message.sender, content, now, traceparent=traceparent)
        self._spawn("delivery report", self._send(report, traceparent))

    async def _send(self, report: Message, traceparent: str) -> None:
        try:
            devices = await self._registrations.devices(report.recipient, traceparent)
            result = await self._delivery.deliver(report, devices, traceparent)
            if result.outcome is Outcome.UNREACHABLE:
                stored = packed(report, self._clock.wall())
                await self._mailbox.put(report.recipient, stored, stored.stored_at_ms + self._retry_ms)
        except (RpcError, StoreError) as error:
            logger.warning("a delivery report could not be sent: %s", error)

    @property
    def _retry_ms(self) -> int:
        return int(self._config.retry_seconds * 1000)


def packed(message: Message, now: float) -> StoredMessage:
    """A message as it is kept. ``now``: seconds since 1970."""
    return StoredMessage(
        request=bytes(message.request), sender=message.sender, sender_name=message.sender_name,
        stored_at_ms=int(now * 1000), traceparent=message.traceparent,
    )  # fmt: skip
