"""Single messages to phones, over the flow of each (RFC 3428)."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from parley.messaging.content import unwrapped
from parley.messaging.cpim import CONTENT_TYPE as CPIM_TYPE
from parley.messaging.cpim import parse_cpim
from parley.messaging.devices import Device
from parley.messaging.iscomposing import CONTENT_TYPE as COMPOSING_TYPE
from parley.platform.applications.edges import EdgeSender, FlowGone
from parley.platform.rpc.errors import RpcError
from parley.presence.standard.errors import DocumentError
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.errors import SipError
from parley.sip.message import Request
from services.messaging.messages import Message

logger = logging.getLogger(__name__)

_REFUSALS: Final = 10_000
_ATTEMPT_S: Final = 32.0


class Phones:
    """Sends to devices that take single messages."""

    def __init__(self, sender: EdgeSender) -> None:
        self._sender = sender
        self._no_typing: OrderedDict[str, None] = OrderedDict()

    async def send(self, message: Message, device: Device, traceparent: str) -> tuple[int, bool]:
        """The answer of a device, and whether it took the message out of an envelope that it does not know.

        430 when it cannot be reached.
        """
        kind = message.content.kind
        if kind == COMPOSING_TYPE and device.name in self._no_typing:
            return 415, False
        status = await self._send(message.request, device, traceparent)
        if status == 415 and kind == COMPOSING_TYPE:
            self._note_refusal(device.name)
        elif status == 415 and kind == CPIM_TYPE:
            plain = _without_envelope(message.request)
            if plain is not None:
                return await self._send(plain, device, traceparent), True
        return status, False

    def _note_refusal(self, name: str) -> None:
        self._no_typing[name] = None
        if len(self._no_typing) > _REFUSALS:
            self._no_typing.popitem(last=False)

    async def _send(self, request: Request, device: Device, traceparent: str) -> int:
        for binding in device.bindings:
            try:
                copy = addressed(request, binding)
                answer = await self._sender.request(copy, binding.flow, traceparent=traceparent, timeout_s=_ATTEMPT_S)
            except FlowGone:
                continue
            except (RpcError, SipError) as error:
                logger.info("a message to %s could not be sent: %s", binding.contact, error)
                return 503
            if answer.status != 430:
                return answer.status
        return 430


def addressed(request: Request, binding: Binding) -> Request:
    """A copy for one binding: its contact, and the way to it (RFC 3327). Raises SipParseError."""
    copy = request.copy()
    copy.set_uri(binding.contact)
    for path in reversed(binding.path):
        copy.prepend("Route", path if "<" in path else f"<{path}>")
    return copy


def _without_envelope(request: Request) -> Request | None:
    """The message in an envelope (RFC 3862) as a message of its own; None when there is none to be found."""
    try:
        inner = unwrapped(parse_cpim(request.body))
    except DocumentError:
        return None
    if not inner.content_type:
        return None
    plain = request.copy()
    plain.set("Content-Type", inner.content_type)
    plain.set("Content-Length", str(len(inner.body)))
    plain.body = inner.body
    return plain
