"""A message to the devices of its recipient: each gets it once, phones as it is, clients of Communicator in a session.

All phones of a user get a message, as RFC 3428 has it; of her Communicator clients that one gets it which has the session,
or which answers first. The message is delivered when any device took it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from parley.messaging.answers import Outcome, outcome_of
from parley.messaging.devices import Device, Mode
from parley.messaging.errors import MessagingError
from parley.messaging.iscomposing import CONTENT_TYPE as COMPOSING_TYPE
from parley.messaging.iscomposing import parse_iscomposing
from parley.messaging.reports import holds_report
from parley.presence.standard.errors import DocumentError
from services.messaging.conversations import Conversations
from services.messaging.messages import Message
from services.messaging.phones import Phones


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message."""

    outcome: Outcome
    status: int
    for_recipient: bool = False
    """It was taken by a device that makes no reports: they are made here."""


class Delivery:
    """Delivers to whatever devices there are."""

    def __init__(self, phones: Phones, conversations: Conversations) -> None:
        self._phones = phones
        self._conversations = conversations

    async def deliver(
        self, message: Message, devices: Sequence[Device], traceparent: str, *, phones_first: bool = False
    ) -> Result:
        """Sends to all devices. ``phones_first``: to clients only when no phone took it. Raises StoreError."""
        phones = [device for device in devices if device.mode is Mode.PAGE]
        clients = [device for device in devices if device.mode is Mode.SESSION]
        if phones and phones_first:
            result = await self._to_all(message, phones, (), traceparent)
            if result.outcome is not Outcome.UNREACHABLE or not clients:
                return result
            phones = []
        return await self._to_all(message, phones, clients, traceparent)

    async def _to_all(
        self, message: Message, phones: Sequence[Device], clients: Sequence[Device], traceparent: str
    ) -> Result:
        sends = [self._phones.send(message, phone, traceparent) for phone in phones]
        if clients:
            sends.append(self._to_clients(message, clients, traceparent))
        answers = await asyncio.gather(*sends)
        outcome, status = outcome_of(status for status, _ in answers)
        return Result(outcome, status, any(own and 200 <= status < 300 for status, own in answers))

    async def _to_clients(self, message: Message, clients: Sequence[Device], traceparent: str) -> tuple[int, bool]:
        content = message.content
        try:
            if content.kind == COMPOSING_TYPE:
                typing = parse_iscomposing(content.body).state == "active"
                await self._conversations.show_typing(
                    message.recipient, message.sender, typing=typing, traceparent=traceparent
                )
                return 200, False
            if holds_report(content):  # she never asks for one
                return 200, False
            return await self._conversations.say(message, clients, traceparent), True
        except DocumentError:
            return 400, False
        except MessagingError as error:
            return error.status, False
