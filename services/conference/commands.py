"""What participants command in a conference (MS-CONFBAS section 2.2.3): roles, lock, who has to go, its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar
from xml.sax.saxutils import quoteattr

from parley.c3p.commands import conference_entity, granted_role, locked, user_keys
from parley.c3p.envelope import CONFERENCE_INFO, C3pRequest, failure, success
from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.conference.documents import full_document, name_of
from parley.conference.roster import Removed, is_presenter, participant, remove
from parley.conference.uris import same_uri
from parley.platform.store.errors import StoreError
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, parse_uri
from services.conference.endings import Endings
from services.conference.repository import ConferenceRepository, Fact, Outcome

logger = logging.getLogger(__name__)

T = TypeVar("T")

Command = Callable[[C3pRequest, pb.Conference, str, str], Awaitable[str]]


class Commands:
    """Carries out commands; each is judged again at the moment of the change."""

    def __init__(self, repository: ConferenceRepository, endings: Endings) -> None:
        self._repository = repository
        self._endings = endings
        self._commands: dict[str, Command] = {
            "getConference": self._get,
            "deleteUser": self._delete_user,
            "modifyUserRoles": self._modify_roles,
            "modifyConferenceLock": self._lock,
            "deleteConference": self._end,
        }

    async def carry_out(self, asked: C3pRequest, conference: pb.Conference, user: str, traceparent: str) -> bytes:
        """The answer to a command of a participant. ``user``: address of record."""
        command = self._commands.get(asked.name)
        try:
            if command is None or asked.mcu_uri:
                raise CommandFailed(Reason.NOT_SUPPORTED)
            return success(asked, await command(asked, conference, user, traceparent))
        except CommandFailed as error:
            return failure(asked, error.reason)
        except (C3pError, StoreError) as error:
            logger.info("%s failed: %s", asked.name, error)
            return failure(asked, Reason.OTHER_FAILURE)

    async def _get(self, _asked: C3pRequest, conference: pb.Conference, _user: str, _traceparent: str) -> str:
        return full_document(conference, 1).decode()

    async def _delete_user(self, asked: C3pRequest, conference: pb.Conference, user: str, traceparent: str) -> str:
        target = self._target(asked, conference)

        def apply(current: pb.Conference) -> Outcome[Removed]:
            _demand_presenter(current, user)
            gone = remove(current, target, "booted")
            if gone is None:
                raise CommandFailed(Reason.ENDPOINT_DOES_NOT_EXIST)
            return gone, [Fact(ConferenceChanged.KIND_LEFT, (target,), gone.reason)]

        gone = await self._changed(conference, apply, traceparent)
        await self._repository.note_left(target, name_of(conference))
        self._endings.of(name_of(conference), gone, traceparent)
        return ""

    async def _modify_roles(self, asked: C3pRequest, conference: pb.Conference, user: str, traceparent: str) -> str:
        target, presenter = self._target(asked, conference), granted_role(asked)

        def apply(current: pb.Conference) -> Outcome[bool]:
            _demand_presenter(current, user)
            found = participant(current, target)
            if found is None:
                raise CommandFailed(Reason.ENDPOINT_DOES_NOT_EXIST)
            others = any(one.presenter for one in current.participants if one.address != target)
            if not presenter and (target == current.organizer or not others):
                raise CommandFailed(Reason.FORBIDDEN)
            found.presenter = presenter
            return True, [Fact(ConferenceChanged.KIND_ROSTER, (target,))]

        await self._changed(conference, apply, traceparent)
        return ""

    async def _lock(self, asked: C3pRequest, conference: pb.Conference, user: str, traceparent: str) -> str:
        _demand_same(conference, conference_entity(asked))
        wanted = locked(asked)

        def apply(current: pb.Conference) -> Outcome[bool]:
            _demand_presenter(current, user)
            current.locked = wanted
            return True, [Fact(ConferenceChanged.KIND_LOCKED)]

        await self._changed(conference, apply, traceparent)
        return ""

    async def _end(self, asked: C3pRequest, conference: pb.Conference, user: str, traceparent: str) -> str:
        """Everybody is sent away; the record stays, and the conference can begin again."""
        _demand_same(conference, conference_entity(asked))
        name = name_of(conference)

        def apply(current: pb.Conference) -> Outcome[list[Removed]]:
            _demand_presenter(current, user)
            gone = [remove(current, one.address, "booted") for one in list(current.participants)]
            out = [one for one in gone if one is not None]
            return out, [Fact(ConferenceChanged.KIND_LEFT, tuple(one.address for one in out), "booted")]

        for gone in await self._changed(conference, apply, traceparent):
            await self._repository.note_left(gone.address, name)
            self._endings.of(name, gone, traceparent)
        return f'<conference-info xmlns="{CONFERENCE_INFO}" entity={quoteattr(name.focus)}/>'

    def _target(self, asked: C3pRequest, conference: pb.Conference) -> str:
        entity, user = user_keys(asked)
        _demand_same(conference, entity)
        return address_in(user)

    async def _changed(self, conference: pb.Conference, apply: Callable[[pb.Conference], Outcome[T]], traceparent: str) -> T:
        result = await self._repository.change(name_of(conference), apply, traceparent)
        if result is None:
            raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
        return result


def address_in(uri: str) -> str:
    """The address of record of a URI in a document. Raises CommandFailed."""
    try:
        return aor(parse_uri(uri))
    except SipParseError:
        raise CommandFailed(Reason.INVALID_USER_ENTITY) from None


def _demand_presenter(conference: pb.Conference, user: str) -> None:
    if not is_presenter(conference, user):
        raise CommandFailed(Reason.FORBIDDEN)


def _demand_same(conference: pb.Conference, entity: str) -> None:
    if not same_uri(entity, name_of(conference).focus):
        raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
