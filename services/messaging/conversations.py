"""Messages and typing to clients of Communicator, in sessions that are opened here in place of who sends single messages.

A session is used for as long as it is there; when the client has forgotten it, or is gone, another one is opened, with
whichever of the user's clients answers first. The client shows what comes as MESSAGE, never the INVITE.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from email.utils import formatdate
from secrets import token_hex
from typing import Final

from prometheus_client import Counter

from parley.messaging.activity import CONTENT_TYPE as ACTIVITY_TYPE
from parley.messaging.activity import build_activity
from parley.messaging.answers import outcome_of
from parley.messaging.content import Content, for_communicator
from parley.messaging.devices import Device
from parley.messaging.sdp import accepted_types, session_description
from parley.platform.applications.edges import EdgeSender, FlowGone
from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.proto.messaging.v1.state_pb2 import Session
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.dialog import Dialog, DialogId, DialogState
from parley.sip.errors import SipError
from parley.sip.message import Request
from services.messaging.config import MessagingConfig
from services.messaging.devices import Devices
from services.messaging.invitations import Accepted, Fork, Spawn
from services.messaging.messages import Message, party
from services.messaging.phones import addressed
from services.messaging.repository import Sessions, Used
from services.messaging.turns import Turns

logger = logging.getLogger(__name__)

OPENED = Counter("parley_messaging_sessions_opened_total", "Sessions with clients, by who began them", ["by"])
ENDED = Counter("parley_messaging_sessions_ended_total", "Sessions that ended, by cause", ["cause"])

_GONE: Final = frozenset({408, 430, 480, 481})
"""Answers after which a session is of no use."""
_INVITE_S: Final = 15.0
_LOOK_S: Final = 0.1
_LOOKS: Final = 200


class Conversations:
    """The sessions towards clients."""

    def __init__(
        self, config: MessagingConfig, sessions: Sessions, sender: EdgeSender, registrations: Devices, clock: Clock,
        spawn: Spawn,
    ) -> None:  # fmt: skip
        self._config = config
        self._sessions = sessions
        self._sender = sender
        self._registrations = registrations
        self._clock = clock
        self._spawn = spawn
        self._turns = Turns()

    def ends_at_ms(self) -> int:
        """When a session that is used now ends unless it is used again."""
        return int((self._clock.wall() + self._config.session_idle_seconds) * 1000)

    async def say(self, message: Message, clients: Sequence[Device], traceparent: str) -> int:
        """Brings a message to one of the clients; its answer. Raises UnsupportedContent, MessagingError, StoreError."""
        owner, peer = message.recipient, message.sender
        content = for_communicator(message.content)
        async with self._turns.of(owner, peer):
            for _ in range(_LOOKS):
                used = await self._sessions.current(owner, peer, self.ends_at_ms())
                if used is not None:
                    status = await self._speak(used, content, message, traceparent)
                    if status not in _GONE:
                        return status
                    await self.drop(used.session, "gone")
                    if status == 408:  # perhaps it was shown
                        return status
                if not clients:
                    return 480
                lock = await self._sessions.begin_opening(owner, peer)
                if lock:
                    try:
                        return await self._open(message, content, clients, traceparent)
                    finally:
                        await self._sessions.end_opening(owner, peer, lock)
                await asyncio.sleep(_LOOK_S)  # another process opens one
        return 480

    async def show_typing(self, owner: str, peer: str, *, typing: bool, traceparent: str) -> None:
        """Shows a client that the peer types, if there is a session. Raises StoreError."""
        used = await self._sessions.current(owner, peer, self.ends_at_ms())
        if used is None:
            return
        dialog = dialog_of(used.session, used.number)
        request = dialog.create_request("INFO", body=build_activity(typing=typing), content_type=ACTIVITY_TYPE)
        await self.send(used.session, request, traceparent)

    async def end(self, session: Session, cause: str) -> None:
        """Says goodbye to a client and forgets the session. Raises StoreError."""
        number = await self._sessions.close(session.owner, session.id, session.peer)
        if number < 0:
            return
        ENDED.labels(cause).inc()
        await self.send(session, dialog_of(session, number + 1).create_request("BYE"), "")

    async def drop(self, session: Session, cause: str) -> None:
        """Forgets a session that is over at its client. Raises StoreError."""
        if await self._sessions.close(session.owner, session.id, session.peer) >= 0:
            ENDED.labels(cause).inc()

    async def send(self, session: Session, request: Request, traceparent: str) -> int:
        """Sends a request in a session, wherever its client is now; the answer, 430 when it is gone. Raises StoreError."""
        for again in (False, True):
            try:
                answer = await self._sender.request(request, session.flow, traceparent=traceparent)
                if answer.status != 430:
                    return answer.status
            except FlowGone:
                pass
            except RpcError as error:
                logger.info("a request of a session could not be sent: %s", error)
                return 503
            if again or not await self._find_again(session):
                break
        return 430

    async def _find_again(self, session: Session) -> bool:
        """Looks for the client of a session whose connection is gone."""
        try:
            flow = await self._registrations.find(session.owner, session.endpoint, session.remote_target, session.flow)
        except RpcError as error:
            logger.info("a client could not be looked up: %s", error)
            return False
        if flow is None:
            return False
        session.flow.CopyFrom(flow)
        await self._sessions.keep(session)
        return True

    async def _speak(self, used: Used, content: Content, message: Message, traceparent: str) -> int:
        dialog = dialog_of(used.session, used.number)
        date = message.request.get("Date") or formatdate(self._clock.wall(), usegmt=True)
        if used.session.accepted:
            content = for_communicator(message.content, list(used.session.accepted))
        request = dialog.create_request(
            "MESSAGE", headers=[("Date", date)], body=content.body, content_type=content.content_type
        )
        return await self.send(used.session, request, traceparent)

    # A new session

    async def _open(self, message: Message, content: Content, clients: Sequence[Device], traceparent: str) -> int:
        session_id = token_hex(8)
        invite = _invite(message, session_id)
        invites = [(device.bindings[0], addressed(invite, device.bindings[0])) for device in clients]
        fork = Fork(self._sender, self._spawn, traceparent)
        try:
            accepted = await fork.run(invites, min(_INVITE_S, self._config.answer_seconds))
        except (RpcError, SipError) as error:
            logger.info("a session could not be opened: %s", error)
            return 503
        if accepted is None:
            return outcome_of(fork.statuses)[1]
        session = _session(message, session_id, accepted)
        if not await self._sessions.open(session, sent=1, received=0, ends_at_ms=self.ends_at_ms()):
            await self.send(session, accepted.dialog.create_request("BYE"), traceparent)
            return 480
        OPENED.labels("phone").inc()
        used = await self._sessions.current(session.owner, session.peer, self.ends_at_ms())
        if used is None:
            return 480
        status = await self._speak(used, content, message, traceparent)
        if status in _GONE:
            await self.drop(session, "gone")
        return status


def dialog_of(session: Session, number: int = 1) -> Dialog:
    """The dialog of a session; its next request has that CSeq."""
    return Dialog(
        DialogId(session.call_id, "", ""), state=DialogState.CONFIRMED, local_party=session.local_party,
        remote_party=session.remote_party, remote_target=session.remote_target, route_set=tuple(session.routes),
        local_contact=contact(session.peer, session.id), local_cseq=number - 1, remote_cseq=None, secure=False,
    )  # fmt: skip


def contact(peer: str, session_id: str) -> str:
    """Our Contact: it names the session, so any front end brings what the client sends there to this service."""
    return f"<{peer};opaque=app:messaging:{session_id}>"


def _invite(message: Message, session_id: str) -> Request:
    peer, owner = message.sender, message.recipient
    host = peer.rpartition("@")[2]
    headers = [
        ("Max-Forwards", "70"),
        ("From", f"{party(peer, message.sender_name)};tag={token_hex(6)}"),
        ("To", f"<{owner}>"),
        ("Call-ID", f"{token_hex(12)}@{host}"),
        ("CSeq", "1 INVITE"),
        ("Contact", contact(peer, session_id)),
        ("Content-Type", "application/sdp"),
    ]
    asserted = message.request.get("P-Asserted-Identity")
    if asserted:
        headers.append(("P-Asserted-Identity", asserted))
    return Request.create("INVITE", owner, headers=headers, body=session_description(host))


def _session(message: Message, session_id: str, accepted: Accepted) -> Session:
    dialog, binding = accepted.dialog, accepted.binding
    session = Session(
        id=session_id, owner=message.recipient, peer=message.sender, endpoint=_endpoint(binding),
        call_id=dialog.id.call_id, local_party=dialog.local_party, remote_party=dialog.remote_party,
        remote_target=dialog.remote_target, routes=dialog.route_set, accepted=accepted_types(accepted.answer.body),
    )  # fmt: skip
    session.flow.CopyFrom(binding.flow)
    return session


def _endpoint(binding: Binding) -> str:
    return str(binding.epid)
