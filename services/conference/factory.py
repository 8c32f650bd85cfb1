"""The focus factory: conferences made, read, changed and deleted by their organizer (MS-CONFPRO section 3.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from parley.c3p.commands import ConferenceInfo, conference_id, conference_info
from parley.c3p.envelope import C3P_TYPE, C3pRequest, failure, parse_request, success
from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.conference.documents import POLICIES, name_of, record_document
from parley.conference.uris import ConferenceName, is_factory, parse_name
from parley.platform.applications.host import Incoming
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, parse_uri
from services.conference.commands import address_in
from services.conference.config import ConferenceConfig
from services.conference.endings import Endings
from services.conference.repository import ConferenceRepository, Fact, Outcome

_DAY_MS: Final = 86_400_000
_OLDEST_MS: Final = 365 * _DAY_MS
_FARTHEST_MS: Final = 10 * _OLDEST_MS
_LISTED: Final = 100

Command = Callable[[C3pRequest, str, str], Awaitable[str]]


class Factory:
    """Answers SERVICE to ``sip:organizer@domain;gruu;opaque=app:conf:focusfactory``."""

    def __init__(self, config: ConferenceConfig, repository: ConferenceRepository, endings: Endings) -> None:
        self._config = config
        self._repository = repository
        self._endings = endings
        self._commands: dict[str, Command] = {
            "getConferencingCapabilities": self._capabilities,
            "getAvailableMcuTypes": self._mcu_types,
            "addConference": self._add,
            "getConference": self._get,
            "getConferences": self._list,
            "modifyConference": self._modify,
            "deleteConference": self._delete,
        }

    async def handle(self, incoming: Incoming) -> None:
        """Answers a request to a factory. Raises C3pError, StoreError."""
        request = incoming.request
        if request.method != "SERVICE":
            incoming.reply(405, None, (("Allow", "SERVICE"),))
            return
        if (request.get("Content-Type") or "").partition(";")[0].strip().lower() != C3P_TYPE:
            incoming.reply(415, None, (("Accept", C3P_TYPE),))
            return
        asked = parse_request(request.body)
        organizer = aor(request.uri)
        if incoming.user_aor != organizer:
            raise C3pError("a factory is for its own user", 3014, 403)
        _check_parties(asked, organizer)
        incoming.reply(200, None, (("Content-Type", C3P_TYPE),), await self._answer(asked, organizer, incoming))

    async def _answer(self, asked: C3pRequest, organizer: str, incoming: Incoming) -> bytes:
        command = self._commands.get(asked.name)
        try:
            if command is None:
                raise CommandFailed(Reason.NOT_SUPPORTED)
            return success(asked, await command(asked, organizer, incoming.span.traceparent if incoming.span else ""))
        except CommandFailed as error:
            return failure(asked, error.reason)

    # What there is

    async def _capabilities(self, _asked: C3pRequest, _organizer: str, _traceparent: str) -> str:
        return self._types()

    async def _mcu_types(self, _asked: C3pRequest, _organizer: str, _traceparent: str) -> str:
        return self._types()

    def _types(self) -> str:
        return f"<mcu-types>{''.join(f'<mcuType>{kind}</mcuType>' for kind in self._config.mcu_types)}</mcu-types>"

    # Records

    async def _add(self, asked: C3pRequest, organizer: str, traceparent: str) -> str:
        info = conference_info(asked)
        now_ms = self._repository.now_ms()
        if len(await self._repository.ids_of(organizer)) >= self._config.max_conferences:
            raise CommandFailed(Reason.MAXIMUM_CONFERENCES_EXCEEDED)
        conference = pb.Conference(
            organizer=organizer, id=info.conference_id, updated_at_ms=now_ms, mcu_types=self._config.mcu_types,
            admission_policy=pb.ADMISSION_POLICY_OPEN_AUTHENTICATED,
            expires_at_ms=now_ms + int(self._config.expiry_days * _DAY_MS),
        )  # fmt: skip
        self._write(conference, info, now_ms)
        if not await self._repository.create(conference, traceparent):
            raise CommandFailed(Reason.CONFERENCE_EXISTS)
        return record_document(conference)

    async def _get(self, asked: C3pRequest, organizer: str, _traceparent: str) -> str:
        found = await self._repository.conference(ConferenceName(organizer, conference_id(asked)))
        if found is None:
            raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
        return record_document(found)

    async def _list(self, _asked: C3pRequest, organizer: str, _traceparent: str) -> str:
        rows = []
        for found_id in (await self._repository.ids_of(organizer))[:_LISTED]:
            found = await self._repository.conference(ConferenceName(organizer, found_id))
            rows.append(record_document(found) if found is not None else "")
        return "".join(rows)

    async def _modify(self, asked: C3pRequest, organizer: str, traceparent: str) -> str:
        info = conference_info(asked)
        name = ConferenceName(organizer, info.conference_id) if info.conference_id else _named(info.entity, organizer)
        now_ms = self._repository.now_ms()

        def apply(conference: pb.Conference) -> Outcome[str]:
            self._write(conference, info, now_ms)
            conference.updated_at_ms = now_ms
            return record_document(conference), [Fact(ConferenceChanged.KIND_MODIFIED)]

        changed = await self._repository.change(name, apply, traceparent, durable=True)
        if changed is None:
            raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
        return changed

    async def _delete(self, asked: C3pRequest, organizer: str, traceparent: str) -> str:
        name = ConferenceName(organizer, conference_id(asked))
        gone = await self._repository.delete(name, traceparent)
        if gone is None:
            raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
        self._endings.all_of(gone, "booted", traceparent)
        return f'<conferenceKeys confEntity="{name_of(gone).focus}"/>'

    def _write(self, conference: pb.Conference, info: ConferenceInfo, now_ms: int) -> None:
        """Puts into a record what a document says."""
        if info.subject is not None:
            conference.subject = info.subject
        if info.description is not None:
            conference.description = info.description
        if info.admission_policy is not None:
            conference.admission_policy = _policy(info.admission_policy)
        if info.expires_at is not None:
            conference.expires_at_ms = _expiry(int(info.expires_at.timestamp() * 1000), now_ms)
        if info.mcu_types:
            if not set(info.mcu_types) <= set(self._config.mcu_types):
                raise CommandFailed(Reason.MCU_TYPE_NOT_AVAILABLE)
            conference.mcu_types[:] = info.mcu_types
        if info.users is not None:
            del conference.invitees[:]
            conference.invitees.extend(
                pb.Invitee(address=address_in(one.uri), presenter=one.presenter) for one in info.users
            )


def _check_parties(asked: C3pRequest, organizer: str) -> None:
    """Who asks whom, as the envelope says, has to be what the SIP request says."""
    try:
        sender, to = parse_uri(asked.sender), parse_uri(asked.to)
        if aor(sender) != organizer:
            raise C3pError("from is not who asks", 3000, 403)
        if aor(to) != organizer or not is_factory(to):
            raise C3pError("to is not this factory", 3001)
    except SipParseError:
        raise C3pError("from and to are SIP URIs", 3000) from None


def _named(entity: str, organizer: str) -> ConferenceName:
    try:
        found = parse_name(parse_uri(entity))
    except SipParseError:
        found = None
    if found is None or found[0].organizer != organizer:
        raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
    return found[0]


def _policy(text: str) -> pb.AdmissionPolicy.ValueType:
    for policy, name in POLICIES.items():
        if name.lower() == text.lower():
            return policy
    raise CommandFailed(Reason.INVALID_ADMISSION_POLICY)


def _expiry(expires_at_ms: int, now_ms: int) -> int:
    if not now_ms - _OLDEST_MS <= expires_at_ms <= now_ms + _FARTHEST_MS:
        raise CommandFailed(Reason.INVALID_EXPIRY_TIME)
    return expires_at_ms
