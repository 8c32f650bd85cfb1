"""The SIP application: INVITE, MESSAGE, INFO and BYE to ``sip:organizer@domain;gruu;opaque=app:conf:chat:id:<id>``."""

from __future__ import annotations

from typing import Final

from grpc import StatusCode
from prometheus_client import Counter

from parley.conference.uris import CHAT, ConferenceName, parse_name
from parley.messaging.sdp import accepted_types, offers_messages, session_description
from parley.platform.applications.dialogs import dialog_of, tag_of
from parley.platform.applications.host import Incoming
from parley.platform.clock import Clock
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.proto.immcu.v1 import state_pb2 as pb
from parley.sip.diagnostics import ms_diagnostics
from parley.sip.outbound import option_tags
from parley.sip.uri import aor
from services.immcu.config import ImMcuConfig
from services.immcu.delivery import Delivery
from services.immcu.messages import TAKEN
from services.immcu.relay import Relay
from services.immcu.repository import ChatRepository
from services.immcu.sessions import Sessions, session_id

_REFUSED = Counter("parley_immcu_refused_total", "Requests refused, by method and status", ["method", "status"])

_ALLOW: Final = "INVITE, ACK, BYE, MESSAGE, INFO, OPTIONS"
_MAX_TYPING_BYTES: Final = 2_048


class ImMcuApplication:
    """See `parley.platform.applications.host.Handler`."""

    def __init__(
        self, config: ImMcuConfig, repository: ChatRepository, sessions: Sessions, relay: Relay, delivery: Delivery,
        tasks: Tasks, clock: Clock,
    ) -> None:  # fmt: skip
        self._config = config
        self._repository = repository
        self._sessions = sessions
        self._relay = relay
        self._delivery = delivery
        self._tasks = tasks
        self._clock = clock

    async def handle(self, incoming: Incoming) -> None:
        """Answers one request; StoreError and RpcError are answered by the host."""
        request = incoming.request
        named = parse_name(request.uri)
        if named is None or named[1] != CHAT:
            self._refuse(incoming, 404, 3013, "there is no such conferencing server")
            return
        name = named[0]
        match request.method:
            case "INVITE":
                await self._invite(incoming, name)
            case "MESSAGE" | "INFO" | "BYE":
                session = await self._repository.session(name, _session_id(incoming))
                if session is None and request.method == "BYE":
                    incoming.reply(200)  # who leaves when it is thrown out already is told the same
                elif session is None:
                    self._refuse(incoming, 481, 3012, "there is no such session")
                elif request.method == "MESSAGE":
                    await self._message(incoming, name, session)
                elif request.method == "INFO":
                    self._info(incoming, name, session)
                else:
                    incoming.reply(200)
                    await self._sessions.end(name, session, tell=False)
            case "ACK":
                await self._ack(incoming, name)
            case "OPTIONS":
                incoming.reply(200, None, (("Allow", _ALLOW),))
            case _:
                incoming.reply(405, None, (("Allow", _ALLOW),))

    async def _invite(self, incoming: Incoming, name: ConferenceName) -> None:
        request = incoming.request
        if not offers_messages(request.body):
            self._refuse(incoming, 488, 3013, "this conferencing server takes messages alone")
            return
        target = name.uri(CHAT)
        dialog = dialog_of(incoming, target)
        before = await self._repository.session(name, _session_id(incoming))
        if before is not None:
            dialog = before.dialog  # a refresh of the session
        elif request.to_tag is not None:
            self._refuse(incoming, 481, 3012, "there is no such session")
            return
        else:
            session = pb.Session(
                id=_session_id(incoming), user=incoming.user_aor, dialog=dialog, accept_types=accepted_types(request.body),
                ms_sender="ms-sender" in option_tags(request, "Supported"),
            )  # fmt: skip
            try:
                await self._sessions.begin(name, session)
            except RpcError as error:
                if error.code is StatusCode.PERMISSION_DENIED:
                    self._refuse(incoming, 403, 3014, "who chats has to take part in the conference")
                elif error.code is StatusCode.NOT_FOUND:
                    self._refuse(incoming, 404, 3012, "there is no such conference")
                else:
                    raise
                return
        headers = [("Contact", f"<{target}>;isfocus"), ("Allow", _ALLOW), ("Supported", "ms-sender")]
        headers.append(("Content-Type", "application/sdp"))
        incoming.reply(
            200,
            None,
            headers,
            session_description(name.organizer.rpartition("@")[2], TAKEN),
            to_tag=tag_of(dialog),
            record_route=True,
        )

    async def _ack(self, incoming: Incoming, name: ConferenceName) -> None:
        session = await self._repository.session(name, _session_id(incoming))
        if session is not None and not session.connected:
            await self._sessions.connect(name, session)

    async def _message(self, incoming: Incoming, name: ConferenceName, session: pb.Session) -> None:
        request = incoming.request
        if not session.connected:  # its ACK was lost
            await self._sessions.connect(name, session)
        content_type = request.get("Content-Type") or "text/plain"
        if content_type.partition(";")[0].strip().lower() not in TAKEN:
            incoming.reply(415, None, (("Accept", ", ".join(TAKEN)),))
            return
        if len(request.body) > self._config.max_message_bytes:
            self._refuse(incoming, 413, 3013, "the message is too long")
            return
        message = pb.ChatMessage(
            sender_session=session.id, sender=session.user, sender_name=session.display_name, content_type=content_type,
            body=request.body, traceparent=incoming.span.traceparent if incoming.span else "",
            at_ms=int(self._clock.wall() * 1000),
        )  # fmt: skip
        number = await self._repository.push(name, message, self._config.max_waiting)
        if not number:
            self._refuse(incoming, 503, 3013, "too many messages wait", ("Retry-After", "5"))
            return
        incoming.reply(202, None, (("Message-Id", str(number)),))
        self._relay.wake(name)

    def _info(self, incoming: Incoming, name: ConferenceName, session: pb.Session) -> None:
        request = incoming.request
        if len(request.body) > _MAX_TYPING_BYTES:
            self._refuse(incoming, 413, 3013, "the document is too large")
            return
        incoming.reply(200)
        self._tasks.once("chat typing", self._delivery.typing(name, session, request))

    def _refuse(self, incoming: Incoming, status: int, error_id: int, text: str, *headers: tuple[str, str]) -> None:
        _REFUSED.labels(incoming.request.method, str(status)).inc()
        source = self._config.server_name or incoming.user_aor.rpartition("@")[2]
        incoming.reply(status, None, (ms_diagnostics(error_id, text, source), *headers))


def _session_id(incoming: Incoming) -> str:
    request = incoming.request
    # Nobody is asked for credentials in an ACK, so its sender is taken at its word.
    user = incoming.user_aor or (aor(request.from_.uri) if request.method == "ACK" else "")
    return session_id(user, (request.from_.params.get("epid") or "")[:64], request.call_id)
