"""The sessions of chats: begun by INVITE, ended by BYE of either side, always with the focus' knowledge."""

from __future__ import annotations

import logging
from hashlib import blake2s
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from parley.conference.uris import CHAT, ConferenceName
from parley.platform.applications.dialogs import DialogSender, request_in
from parley.platform.events.api import Event
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.proto.conference.v1.focus_pb2 import JoinRequest, JoinResponse, LeaveRequest
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from parley.proto.immcu.v1 import state_pb2 as pb
from services.immcu.repository import ChatRepository

if TYPE_CHECKING:
    from parley.proto.conference.v1.focus_pb2_grpc import FocusAsyncStub

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 5.0
_NAMES: Final = UUID("5b0e4c5e-6c1d-4c5a-9d1f-6f0e0d7a3b21")
"""Namespace of the names of endpoints."""


def session_id(user: str, endpoint: str, call_id: str) -> str:
    """The id of the session that a client opens with a Call-ID, which alone is not unique."""
    return blake2s(f"{user}\n{endpoint}\n{call_id}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


class Sessions:
    """Who is in which chat."""

    def __init__(self, repository: ChatRepository, focus: FocusAsyncStub, sender: DialogSender, tasks: Tasks) -> None:
        self._repository = repository
        self._focus = focus
        self._sender = sender
        self._tasks = tasks

    async def begin(self, name: ConferenceName, session: pb.Session) -> None:
        """Lets a participant in. Raises RpcError (PERMISSION_DENIED for who takes no part), StoreError."""
        session.display_name = (await self._join(name, session)).display_name
        await self._repository.keep(name, session)

    async def connect(self, name: ConferenceName, session: pb.Session) -> None:
        """The client has the answer, so all may know that it is in. Raises RpcError, StoreError."""
        session.connected = True
        await self._join(name, session)
        await self._repository.keep(name, session)

    async def _join(self, name: ConferenceName, session: pb.Session) -> JoinResponse:
        joined: JoinResponse = await self._focus.Join(
            JoinRequest(
                organizer=name.organizer, conference_id=name.id, user=session.user, session_type=CHAT,
                endpoint=_endpoint(session), connected=session.connected,
            ), timeout=_TIMEOUT_S,
        )  # fmt: skip
        return joined

    async def end(self, name: ConferenceName, session: pb.Session, *, tell: bool) -> None:
        """Ends a session; ``tell``: the client does not know yet. Raises StoreError."""
        if tell:
            self._tasks.once("chat bye", self._bye(name, session))
        else:
            await self._repository.drop(name, session.id)
        try:
            await self._focus.Leave(
                LeaveRequest(
                    organizer=name.organizer, conference_id=name.id, user=session.user, session_type=CHAT,
                    endpoint=_endpoint(session),
                ), timeout=_TIMEOUT_S,
            )  # fmt: skip
        except RpcError as error:
            logger.warning("the focus does not know yet that %s left the chat: %s", session.user, error)

    async def on_conference_changed(self, event: Event) -> None:
        """Ends the sessions of those who take no part any more; handler of ``parley.conferences``. Raises StoreError."""
        changed: ConferenceChanged = event.message
        if changed.kind not in (ConferenceChanged.KIND_LEFT, ConferenceChanged.KIND_DELETED):
            return
        name = ConferenceName(changed.organizer, changed.conference_id)
        for session in await self._repository.sessions(name):
            if changed.kind == ConferenceChanged.KIND_DELETED or session.user in changed.users:
                self._tasks.once("chat bye", self._bye(name, session))

    async def _bye(self, name: ConferenceName, session: pb.Session) -> None:
        try:
            number = await self._repository.next_cseq(name, session.id)
            await self._repository.drop(name, session.id)
            await self._sender.request(session.dialog, request_in(session.dialog, "BYE", number))
        except (RpcError, StoreError) as error:
            logger.info("the end of a chat could not be told: %s", error)


def _endpoint(session: pb.Session) -> str:
    """The name of a session in the roster."""
    return f"{{{uuid5(_NAMES, session.id)}}}".upper()
