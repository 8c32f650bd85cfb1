"""The focus of each conference: who joins and leaves, and what presenters command (MS-CONFBAS sections 3.4 and 3.5).

A participant's membership is the INVITE dialog with the focus. A command comes by INFO in it; it is answered 202, then done,
and its outcome goes back in an INFO of ours. Some clients never answer that INFO, so nothing depends on its answer.
"""

from __future__ import annotations

import logging
from typing import Final
from xml.sax.saxutils import quoteattr

from parley.c3p.commands import AddUser, add_user
from parley.c3p.envelope import C3P_TYPE, CONFERENCE_INFO, C3pRequest, parse_request, success
from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.conference.documents import name_of
from parley.conference.roster import Removed, admit, join_focus, leave_focus, participant
from parley.conference.uris import FOCUS, ConferenceName, same_uri
from parley.platform.applications.dialogs import DialogSender, dialog_of, request_in, tag_of
from parley.platform.applications.host import Incoming
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from parley.proto.sip.v1.dialog_pb2 import Dialog
from parley.sip.message import Request
from parley.sip.outbound import option_tags
from services.conference.commands import Commands, address_in
from services.conference.config import ConferenceConfig
from services.conference.endings import Endings
from services.conference.repository import ConferenceRepository, Fact, Outcome, dialog_key

logger = logging.getLogger(__name__)

_ALLOW: Final = "INVITE, ACK, BYE, INFO, SUBSCRIBE, OPTIONS"


class Focus:
    """Answers INVITE, BYE and INFO to a focus."""

    def __init__(
        self, config: ConferenceConfig, repository: ConferenceRepository, sender: DialogSender, commands: Commands,
        endings: Endings, tasks: Tasks,
    ) -> None:  # fmt: skip
        self._config = config
        self._repository = repository
        self._sender = sender
        self._endings = endings
        self._tasks = tasks
        self._commands = commands

    # Joining

    async def invite(self, incoming: Incoming, name: ConferenceName) -> None:
        """A user joins, or refreshes the session. Raises C3pError, CommandFailed, StoreError."""
        request = incoming.request
        if request.to_tag is not None:
            await self._refresh(incoming, name)
            return
        if (request.get("Content-Type") or "").partition(";")[0].strip().lower() != C3P_TYPE:
            incoming.reply(415, None, (("Accept", C3P_TYPE), ("Allow", _ALLOW)))
            return
        asked = parse_request(request.body)
        if asked.name != "addUser":
            raise C3pError("an INVITE to a focus adds its user", 3004, 501)
        wanted = self._checked(incoming, name, asked)
        conference = await self._join(incoming, name, wanted)
        stored = name_of(conference)
        found = participant(conference, incoming.user_aor)
        dialog = _dialog_of(found, request.call_id) if found is not None else None
        if found is None or dialog is None:  # thrown out again in the same moment
            raise CommandFailed(Reason.FORBIDDEN, "the conference is over")
        await self._repository.begin_numbers(stored, dialog_key(dialog), 0)
        headers = [("Contact", f"<{stored.focus}>;isfocus"), ("Allow", _ALLOW), ("Content-Type", C3P_TYPE)]
        headers += _session_timer(request)
        body = success(asked, _added(stored, found, wanted))
        incoming.reply(200, None, headers, body, to_tag=tag_of(dialog), record_route=True)

    def _checked(self, incoming: Incoming, name: ConferenceName, asked: C3pRequest) -> AddUser:
        """Who asks has to be who signed in, and to join the conference that is invited."""
        wanted = add_user(asked)
        if address_in(asked.sender) != incoming.user_aor:
            raise C3pError("from is not who asks", 3000, 403)
        if not same_uri(asked.to, name.focus):
            raise C3pError("to is not this focus", 3001)
        if not same_uri(wanted.conference, name.focus):
            raise C3pError("conferenceKeys name another conference", 3003)
        if address_in(wanted.user) != incoming.user_aor:
            raise C3pError("a user can join only on its own behalf", 3002, 403)
        if not wanted.endpoint:
            raise C3pError("who joins needs an endpoint", 3009)
        return wanted

    async def _join(self, incoming: Incoming, name: ConferenceName, wanted: AddUser) -> pb.Conference:
        user, now_ms = incoming.user_aor, self._repository.now_ms()
        dialog = dialog_of(incoming, name.focus)

        def apply(conference: pb.Conference) -> Outcome[tuple[pb.Conference, list[Dialog]]]:
            presenter = admit(conference, user, most=self._config.max_participants)
            dialog.local_target = name_of(conference).focus
            display = incoming.user_name or user.removeprefix("sip:")
            stale = join_focus(conference, user, display, wanted.endpoint, dialog, presenter=presenter, now_ms=now_ms)
            return (conference, stale), [Fact(ConferenceChanged.KIND_ROSTER, (user,))]

        await self._repository.note_joined(user, name)
        joined = await self._repository.change(name, apply, _traceparent(incoming))
        if joined is None:
            raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
        conference, stale = joined
        self._endings.dialogs(name_of(conference), stale, _traceparent(incoming))
        return conference

    async def _refresh(self, incoming: Incoming, name: ConferenceName) -> None:
        conference, dialog = await self._dialog(incoming, name)
        headers = [("Contact", f"<{name_of(conference).focus}>;isfocus"), ("Allow", _ALLOW)]
        headers += _session_timer(incoming.request)
        incoming.reply(200, None, headers, to_tag=tag_of(dialog), record_route=True)

    async def _dialog(self, incoming: Incoming, name: ConferenceName) -> tuple[pb.Conference, Dialog]:
        """The conference and the sender's dialog with its focus. Raises C3pError 481 when there is none."""
        conference = await self._repository.conference(name)
        found = participant(conference, incoming.user_aor) if conference is not None else None
        dialog = _dialog_of(found, incoming.request.call_id) if found is not None else None
        if conference is None or dialog is None:
            raise C3pError("there is no such dialog", 3012, 481)
        return conference, dialog

    # Leaving

    async def bye(self, incoming: Incoming, name: ConferenceName) -> None:
        """A user leaves; who is out already is told the same. Raises StoreError."""
        user, call_id = incoming.user_aor, incoming.request.call_id

        def apply(conference: pb.Conference) -> Outcome[Removed | None]:
            before = participant(conference, user)
            if before is None or _dialog_of(before, call_id) is None:
                return None, None
            gone = leave_focus(conference, user, call_id)
            kind = ConferenceChanged.KIND_ROSTER if gone is None else ConferenceChanged.KIND_LEFT
            return gone, [Fact(kind, (user,), gone.reason if gone is not None else "")]

        gone = await self._repository.change(name, apply, _traceparent(incoming))
        incoming.reply(200)
        if gone is not None:
            await self._repository.note_left(user, name)
            self._endings.of(name, gone, _traceparent(incoming))

    # Commands

    async def info(self, incoming: Incoming, name: ConferenceName) -> None:
        """A command: 202 now, its outcome by INFO. Raises C3pError, StoreError."""
        request = incoming.request
        if (request.get("Content-Type") or "").partition(";")[0].strip().lower() != C3P_TYPE:
            incoming.reply(415, None, (("Accept", C3P_TYPE),))
            return
        asked = parse_request(request.body)
        conference, dialog = await self._dialog(incoming, name)
        if address_in(asked.sender) != incoming.user_aor:
            raise C3pError("from is not who asks", 3000, 403)
        if not same_uri(asked.to, name.focus):
            raise C3pError("to is not this focus", 3001)
        incoming.reply(202)
        body = await self._commands.carry_out(asked, conference, incoming.user_aor, _traceparent(incoming))
        self._tasks.once("conference outcome", self._tell(name_of(conference), dialog, body, _traceparent(incoming)))

    async def _tell(self, name: ConferenceName, dialog: Dialog, body: bytes, traceparent: str) -> None:
        try:
            number = await self._repository.next_number(name, dialog_key(dialog))
            request = request_in(dialog, "INFO", number, (("Content-Type", C3P_TYPE),), body)
            await self._sender.request(dialog, request, traceparent=traceparent)
        except (RpcError, StoreError) as error:
            logger.info("the outcome of a command could not be told: %s", error)


def _added(name: ConferenceName, found: pb.Participant, wanted: AddUser) -> str:
    """What addUser answers: the user with the role that was granted (MS-CONFBAS section 2.2.3.4)."""
    return (
        f"<conferenceKeys confEntity={quoteattr(name.focus)}/>"
        f'<user xmlns="{CONFERENCE_INFO}" entity={quoteattr(wanted.user)}>'
        f"<roles><entry>{'presenter' if found.presenter else 'attendee'}</entry></roles>"
        f"<endpoint entity={quoteattr(wanted.endpoint)}/></user>"
    )


def _dialog_of(found: pb.Participant, call_id: str) -> Dialog | None:
    """The focus dialog of a participant with a Call-ID."""
    for one in found.endpoints:
        if one.session_type == FOCUS and one.dialog.call_id == call_id:
            return one.dialog
    return None


def _session_timer(request: Request) -> list[tuple[str, str]]:
    """Session-Expires of the answer, for a client that asks for session timers (RFC 4028 section 9)."""
    value = request.get("Session-Expires") or request.get("x")
    if value is None or "timer" not in option_tags(request, "Supported"):
        return []
    return [("Session-Expires", f"{value.partition(';')[0].strip()};refresher=uac"), ("Require", "timer")]


def _traceparent(incoming: Incoming) -> str:
    return incoming.span.traceparent if incoming.span else ""
