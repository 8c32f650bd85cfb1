"""Brings messages, typing and reports to participants, each in the dialog of its session."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from parley.conference.uris import ConferenceName
from parley.platform.applications.dialogs import DialogSender, request_in
from parley.platform.applications.edges import FlowGone
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.tracing import Tracer
from parley.proto.immcu.v1 import state_pb2 as pb
from parley.sip.message import Request, Response
from services.immcu.messages import IMDN_TYPE, for_session, report
from services.immcu.repository import ChatRepository
from services.immcu.sessions import Sessions

logger = logging.getLogger(__name__)

_DELIVERED = Counter("parley_immcu_deliveries_total", "Messages brought to single participants, by outcome", ["outcome"])

_GONE: Final = frozenset({404, 405, 408, 410, 480, 481, 604})
"""Answers after which a session is over."""
_OUT_OF_ORDER: Final = 500
"""What a client answers to a CSeq that is too low (RFC 3261 section 12.2.2)."""
_AGAIN_S: Final = 1.0
_MOST_TRIES: Final = 30
"""By then the front end is back, or its lease has ended and its connections are gone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A participant who did not get a message."""

    uri: str
    status: int
    reason: str
    gone: bool


class Delivery:
    """Sends in the sessions of a chat."""

    def __init__(
        self, repository: ChatRepository, sender: DialogSender, sessions: Sessions, tracer: Tracer, server_name: str,
        answer_s: float, *, again_s: float = _AGAIN_S,
    ) -> None:  # fmt: skip
        """``answer_s``: how long a client may take; ``again_s``: until a message is tried again that could not be sent."""
        self._repository = repository
        self._sender = sender
        self._sessions = sessions
        self._tracer = tracer
        self._server_name = server_name
        self._answer_s = answer_s
        self._again_s = again_s

    async def deliver(self, name: ConferenceName, session: pb.Session, message: pb.ChatMessage) -> Failure | None:
        """Brings a message to one participant; None when the client has it. Raises StoreError.

        It was acknowledged to its sender, so it waits for a front end or a registrar that is away for a moment.
        """
        span = self._tracer.start(
            "immcu.deliver", kind="producer", parent="",
            attributes={"sip.method": "MESSAGE", "sip.call_id": session.dialog.call_id, "sip.aor": session.user},
            links=(message.traceparent,) if message.traceparent else (),
        )  # fmt: skip
        status, reason = 503, "Service Unavailable"
        for tries in range(_MOST_TRIES):
            if tries:
                await asyncio.sleep(self._again_s)
            try:
                answer = await self._bring(name, session, message, span.traceparent)
                status, reason = answer.status, answer.reason
                break
            except FlowGone:
                status, reason = 480, "Temporarily Unavailable"
                break
            except RpcError as error:
                logger.info("a message to %s waits: %s", session.user, error)
        ok = 200 <= status < 300
        _DELIVERED.labels("delivered" if ok else "failed").inc()
        span.end("ok" if ok else "error")
        if ok:
            return None
        gone = status in _GONE
        if gone:
            await self._sessions.end(name, session, tell=False)
        return Failure(session.dialog.remote_target if session.dialog.endpoint else session.user, status, reason, gone)

    async def _bring(
        self, name: ConferenceName, session: pb.Session, message: pb.ChatMessage, traceparent: str
    ) -> Response:  # fmt: skip
        """The answer of a client, asked once more when it takes the number for too low. Raises RpcError, StoreError."""
        headers, body = for_session(message, session)
        for again in (False, True):
            number = await self._repository.next_cseq(name, session.id)
            request = request_in(session.dialog, "MESSAGE", number, headers, body)
            answer = await self._sender.request(session.dialog, request, traceparent=traceparent, timeout_s=self._answer_s)
            if again or answer.status != _OUT_OF_ORDER:
                break
        return answer

    async def report(self, name: ConferenceName, message: pb.ChatMessage, failed: list[Failure]) -> None:
        """Tells the sender who did not get a message (MS-CONFIM section 2.2.1). Raises StoreError."""
        session = await self._repository.session(name, message.sender_session)
        if session is None or not session.ms_sender:
            return
        source = self._server_name or name.organizer.rpartition("@")[2]
        body = report(message.number, [(one.uri, one.status, one.reason) for one in failed], source)
        number = await self._repository.next_cseq(name, session.id)
        request = request_in(session.dialog, "BENOTIFY", number, (("Content-Type", IMDN_TYPE),), body)
        await self._send(session, request)

    async def typing(self, name: ConferenceName, sender: pb.Session, request: Request) -> None:
        """Tells the others that somebody types; it is not kept, and nobody waits for it."""
        headers = [("Ms-Sender", f"<{sender.user}>"), ("Content-Type", request.get("Content-Type") or "application/xml")]
        for session in await self._repository.sessions(name):
            if session.id == sender.id or not session.ms_sender:
                continue
            number = await self._repository.next_cseq(name, session.id)
            info = request_in(session.dialog, "INFO", number, headers, request.body)
            try:
                await self._sender.request(session.dialog, info, timeout_s=self._answer_s)
            except (RpcError, StoreError) as error:
                logger.debug("typing could not be told: %s", error)

    async def _send(self, session: pb.Session, request: Request) -> None:
        try:
            await self._sender.send(session.dialog, request)
        except RpcError as error:
            logger.info("a report to %s failed: %s", session.user, error)
