"""Session mode: INVITE, MESSAGE, INFO and BYE of clients of Communicator, for users who have phones with page mode alone.

A session between two clients is none of ours: their INVITE proceeds to the endpoints, and what follows passes the front
end. It comes here again when no client took it and there is a phone. What a client says in a session of ours becomes single
messages, and what the phones answer goes back in the dialog.
"""

from __future__ import annotations

import asyncio
import logging
from secrets import token_hex
from typing import Final

from prometheus_client import Counter

from parley.messaging.activity import CONTENT_TYPE as ACTIVITY_TYPE
from parley.messaging.activity import parse_activity
from parley.messaging.answers import FALLBACK, Outcome
from parley.messaging.composing import TypingFilter
from parley.messaging.content import Content, for_phone
from parley.messaging.devices import Device, Mode
from parley.messaging.errors import MessagingError
from parley.messaging.iscomposing import CONTENT_TYPE as COMPOSING_TYPE
from parley.messaging.iscomposing import IsComposing, build_iscomposing
from parley.messaging.sdp import accepted_types, session_description
from parley.platform.applications.host import Incoming
from parley.platform.clock import Clock
from parley.platform.telemetry.tracing import Span
from parley.proto.events.v1.message_pb2 import MessageUndelivered
from parley.proto.messaging.v1.state_pb2 import Session
from parley.sip.dialog import Dialog
from parley.sip.gruu import endpoint_of, gruu_instance
from parley.sip.message import Request, Response, make_response
from parley.sip.nameaddr import parse_name_addr
from parley.sip.outbound import option_tags
from parley.sip.uri import Uri, aor
from services.messaging.access import AccessRules
from services.messaging.config import MessagingConfig
from services.messaging.conversations import OPENED, Conversations, contact
from services.messaging.delivery import Delivery, Result
from services.messaging.devices import Devices
from services.messaging.invitations import Spawn
from services.messaging.messages import Message, new_message
from services.messaging.repository import OutOfOrder, Sessions
from services.messaging.turns import Turns
from services.messaging.undelivered import Undelivered

logger = logging.getLogger(__name__)

_SPOKEN = Counter("parley_messaging_spoken_total", "Messages received in sessions, by outcome", ["outcome"])

OPAQUE: Final = "app:messaging:"
_ALLOW: Final = "INVITE, ACK, BYE, CANCEL, MESSAGE, INFO, OPTIONS"
_NOBODY: Final = ("",)
"""Contacts that no binding has: the front end finds nobody there, and says so in its usual words."""
_TOPIC_TYPE: Final = "application/xml+conversationinfo"


class SessionRequests:
    """Takes what clients send in sessions, and the INVITEs that begin them."""

    def __init__(
        self, config: MessagingConfig, sessions: Sessions, conversations: Conversations, registrations: Devices,
        delivery: Delivery, access: AccessRules, undelivered: Undelivered, clock: Clock, spawn: Spawn,
    ) -> None:  # fmt: skip
        self._answer_s = config.answer_seconds
        self._sessions = sessions
        self._conversations = conversations
        self._registrations = registrations
        self._delivery = delivery
        self._access = access
        self._undelivered = undelivered
        self._clock = clock
        self._spawn = spawn
        self._turns = Turns()
        """Of requests in a session, until its state is up to date: that never waits for a device."""
        self._speaking = Turns()
        """Of what is said in a session. Who leaves the turn above asks for this one at once, so the order stays."""
        self._typing = TypingFilter()

    # A new session

    async def invite(self, incoming: Incoming) -> None:
        """Answers an INVITE outside any dialog, or lets it proceed.

        Raises MessagingError, SipParseError, RpcError, StoreError.
        """
        request = incoming.request
        owner, peer = incoming.user_aor or aor(request.from_.uri), aor(request.uri)
        traceparent = _traceparent(incoming)
        if await self._access.blocked(peer, owner):
            incoming.proceed(_NOBODY)
            return
        devices = await self._registrations.devices(peer, traceparent)
        phones = any(device.mode is Mode.PAGE for device in devices)
        clients = [uri for device in devices if device.mode is Mode.SESSION for uri in device.contacts]
        if incoming.refused_with:
            if not phones:
                incoming.reply(incoming.refused_with)
                return
        elif clients:
            incoming.proceed(clients, sorted(FALLBACK) if phones and not names_endpoint(request.uri) else ())
            return
        elif not phones or names_endpoint(request.uri):
            incoming.proceed(_NOBODY)
            return
        await self._begin(incoming, owner, peer)

    async def _begin(self, incoming: Incoming, owner: str, peer: str) -> None:
        request = incoming.request
        required = sorted(option_tags(request, "Require"))
        if required:
            raise MessagingError(420, "Bad Extension", ("Unsupported", ", ".join(required)))
        session_id, tag = token_hex(8), token_hex(6)
        answer = incoming_answer(request, peer, session_id, tag)
        dialog = Dialog.from_request(request, answer)
        session = Session(
            id=session_id, owner=owner, peer=peer, endpoint=(request.from_.params.get("epid") or "")[:64],
            call_id=request.call_id, local_party=dialog.local_party, remote_party=dialog.remote_party,
            remote_target=dialog.remote_target, routes=dialog.route_set, accepted=accepted_types(request.body),
            owner_name=incoming.user_name,
        )  # fmt: skip
        session.flow.CopyFrom(incoming.flow)
        ends_at_ms = self._conversations.ends_at_ms()
        if not await self._sessions.open(session, sent=0, received=request.cseq.number, ends_at_ms=ends_at_ms):
            raise MessagingError(480, "Too Many Sessions")
        OPENED.labels("client").inc()
        incoming.respond(answer)

    # In a session

    async def in_session(self, incoming: Incoming, session_id: str) -> None:
        """Answers a request in a session of ours. Raises MessagingError, SipParseError, RpcError, StoreError."""
        owner = incoming.user_aor or aor(incoming.request.from_.uri)
        # From here, not from its turn: behind a device that does not answer, every message would wait longer than the last.
        answer_at = asyncio.get_running_loop().time() + self._answer_s
        async with self._turns.of(owner, session_id):
            session = await self._in_session(incoming, owner, session_id)
        match incoming.request.method:
            case "MESSAGE":
                await self._message(incoming, session, answer_at)
            case "INFO":
                await self._info(incoming, session)

    async def _in_session(self, incoming: Incoming, owner: str, session_id: str) -> Session:
        """Answers what concerns the session alone."""
        request = incoming.request
        try:
            session = await self._sessions.received(owner, session_id, request.cseq.number, self._conversations.ends_at_ms())
        except OutOfOrder:
            raise MessagingError(500, "CSeq Out of Order") from None
        if session is None or not is_of(request, session):
            raise MessagingError(481, "Call/Transaction Does Not Exist")
        if incoming.flow != session.flow:
            session.flow.CopyFrom(incoming.flow)
            await self._sessions.keep(session)
        match request.method:
            case "MESSAGE" | "INFO":
                pass  # in turn with what else is said
            case "BYE":
                await self._conversations.drop(session, "client")
                incoming.reply(200)
            case "INVITE":
                contacts = request.contacts
                if isinstance(contacts, list) and contacts:
                    session.remote_target = contacts[0].uri_text
                    await self._sessions.keep(session)
                incoming.respond(incoming_answer(request, session.peer, session.id, ""))
            case "OPTIONS":
                incoming.reply(200, None, (("Allow", _ALLOW),))
            case _:
                incoming.reply(405, None, (("Allow", _ALLOW),))
        return session

    async def _message(self, incoming: Incoming, session: Session, answer_at: float) -> None:
        request = incoming.request
        content = for_phone(Content(request.get("Content-Type") or "", request.body))
        traceparent = _traceparent(incoming)
        message = new_message(
            session.owner, session.peer, content, self._clock.wall(), sender_name=incoming.user_name or session.owner_name,
            traceparent=traceparent,
        )  # fmt: skip
        result, blocked = await self._say(message, session, answer_at)
        _SPOKEN.labels("blocked" if blocked else result.outcome.value).inc()
        incoming.reply(200 if result.outcome is Outcome.DELIVERED else result.status)
        if result.outcome is Outcome.DELIVERED:
            return
        reason = MessageUndelivered.REASON_REFUSED
        if result.outcome is Outcome.UNREACHABLE:  # the client gives the session up, and begins another one
            await self._conversations.drop(session, "unreachable")
            reason = MessageUndelivered.REASON_UNREACHABLE
        if not blocked:
            await self._undelivered.tell(message, reason, result.status, traceparent)

    async def _say(self, message: Message, session: Session, answer_at: float) -> tuple[Result, bool]:
        """Delivers what is said, in its turn; who does not answer in time is not there. Also whether it is blocked."""
        blocked, sending = False, None
        limit = asyncio.timeout_at(answer_at)
        try:
            async with limit, self._speaking.of(session.owner, session.id):
                self._typing.said(session.id)
                blocked = await self._access.blocked(session.peer, session.owner)
                devices = [] if blocked else await self._registrations.devices(session.peer, message.traceparent)
                deliver = self._delivery.deliver(message, devices, message.traceparent, phones_first=True)
                sending = asyncio.ensure_future(deliver)
                return await asyncio.shield(sending), blocked
        except TimeoutError:
            if not limit.expired():
                raise
        if sending is not None:  # a client that is invited for it is cancelled there
            self._spawn("late message", _finish(sending))
        return Result(Outcome.UNREACHABLE, 480), blocked

    async def _info(self, incoming: Incoming, session: Session) -> None:
        request = incoming.request
        kind = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
        if kind == _TOPIC_TYPE:
            incoming.reply(200)  # phones show no topic
            return
        if kind != ACTIVITY_TYPE:
            raise MessagingError(415, "Unsupported Media Type", ("Accept", ACTIVITY_TYPE))
        typing = parse_activity(request.body)
        incoming.reply(200)
        async with self._speaking.of(session.owner, session.id):
            await self._tell_typing(session, typing, _traceparent(incoming))

    async def _tell_typing(self, session: Session, typing: bool, traceparent: str) -> None:
        refresh = self._typing.tell(session.id, typing=typing, now=self._clock.monotonic())
        if refresh is None or await self._access.blocked(session.peer, session.owner):
            return
        status = IsComposing("active" if typing else "idle", content_type="text/plain", refresh=refresh if typing else None)
        content = Content(COMPOSING_TYPE, build_iscomposing(status))
        message = new_message(session.owner, session.peer, content, self._clock.wall(), traceparent=traceparent)
        devices = await self._registrations.devices(session.peer, traceparent)
        # It is sent before what is said next, which does not wait for its answer.
        self._spawn("typing", self._show_typing(message, [device for device in devices if device.mode is Mode.PAGE]))

    async def _show_typing(self, message: Message, phones: list[Device]) -> None:
        await self._delivery.deliver(message, phones, message.traceparent)


async def _finish(sending: asyncio.Future[Result]) -> None:
    """Waits for a delivery whose sender was answered."""
    await sending


def session_id_of(uri: Uri) -> str:
    """The session that a Contact of ours names; "" for any other URI."""
    opaque = uri.params.get("opaque") or ""
    return opaque[len(OPAQUE) :] if opaque.lower().startswith(OPAQUE) else ""


def names_endpoint(uri: Uri) -> bool:
    """Whether a URI is that of one endpoint, not of a user (GRUU)."""
    return gruu_instance(uri) is not None or endpoint_of(uri) is not None


def is_of(request: Request, session: Session) -> bool:
    """Whether a request belongs to the dialog of a session: Call-ID and both tags."""
    ours, theirs = parse_name_addr(session.local_party).tag, parse_name_addr(session.remote_party).tag
    return request.call_id == session.call_id and request.to_tag == ours and request.from_tag == theirs


def incoming_answer(request: Request, peer: str, session_id: str, tag: str) -> Response:
    """The 200 to an INVITE; ``tag`` of ours, "" when To has one. Nothing in it says that the first text was read."""
    headers = [("Contact", contact(peer, session_id)), ("Allow", _ALLOW), ("Content-Type", "application/sdp")]
    body = session_description(peer.rpartition("@")[2])
    return make_response(request, 200, to_tag=tag or None, headers=headers, body=body, record_route=True)


def _traceparent(incoming: Incoming) -> str:
    span: Span | None = incoming.span
    return span.traceparent if span is not None else ""
