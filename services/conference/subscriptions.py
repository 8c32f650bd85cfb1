"""SUBSCRIBE to a focus (RFC 4575, MS-CONFBAS section 3.2): participants are told who takes part.

Communicator has one subscription for each endpoint and focus, whatever dialog it comes in: it ends it in a new one.
"""

from __future__ import annotations

from hashlib import blake2s
from secrets import token_hex
from typing import Final

from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.conference.documents import INFO_TYPE, full_document, name_of
from parley.conference.roster import participant
from parley.conference.uris import ConferenceName
from parley.platform.applications.dialogs import dialog_of, tag_of
from parley.platform.applications.host import Incoming
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.sip.v1.dialog_pb2 import Dialog
from parley.sip.message import Request
from parley.sip.outbound import option_tags
from services.conference.config import ConferenceConfig
from services.conference.notifier import Notifier
from services.conference.repository import ConferenceRepository, Outcome

_PACKAGE: Final = "conference"
_PER_USER: Final = 16


class Subscriptions:
    """Takes SUBSCRIBE requests."""

    def __init__(self, config: ConferenceConfig, repository: ConferenceRepository, notifier: Notifier) -> None:
        self._config = config
        self._repository = repository
        self._notifier = notifier

    async def handle(self, incoming: Incoming, name: ConferenceName) -> None:
        """Answers a SUBSCRIBE. Raises C3pError, CommandFailed, StoreError."""
        request = incoming.request
        if (request.get("Event") or "").partition(";")[0].strip().lower() != _PACKAGE:
            incoming.reply(489, None, (("Allow-Events", _PACKAGE),))
            return
        if not _accepts(request):
            incoming.reply(406, None, (("Accept", INFO_TYPE),))
            return
        expires = request.expires
        if expires == 0:
            await self._leave(incoming, name)
        else:
            wanted = expires if expires is not None else self._config.subscription_seconds
            await self._enter(incoming, name, min(wanted, self._config.subscription_seconds))

    async def _leave(self, incoming: Incoming, name: ConferenceName) -> None:
        dialog = dialog_of(incoming, name.focus)
        await self._repository.remove_watcher(name, _id_of(incoming, dialog))
        headers = [("Contact", f"<{name.focus}>;isfocus"), ("Expires", "0"), ("Event", _PACKAGE)]
        headers.append(("Subscription-State", "terminated;reason=timeout"))
        incoming.reply(200, None, headers, to_tag=token_hex(8))

    async def _enter(self, incoming: Incoming, name: ConferenceName, expires_s: int) -> None:
        request = incoming.request
        supported = option_tags(request, "Supported") | option_tags(request, "Proxy-Require")
        dialog = dialog_of(incoming, name.focus)
        watcher = pb.Watcher(
            id=_id_of(incoming, dialog), expires_at_ms=self._repository.now_ms() + expires_s * 1000,
            best_effort="ms-benotify" in supported, autoextend="com.microsoft.autoextend" in supported,
        )  # fmt: skip
        watcher.dialog.CopyFrom(dialog)
        in_dialog = request.to_tag is not None
        conference, known = await self._keep(name, watcher, known_only=in_dialog and not dialog.endpoint)
        stored = name_of(conference)
        piggyback = "ms-piggyback-first-notify" in option_tags(request, "Supported")
        number = int(piggyback)  # a NOTIFY of its own takes its number, and its document, when it is sent
        if not (known and in_dialog):
            await self._repository.begin_numbers(stored, watcher.id, number)
        elif piggyback:
            number = await self._repository.next_number(stored, watcher.id)
        self._answer(incoming, stored, watcher, full_document(conference, number) if piggyback else b"", number, expires_s)

    async def _keep(self, name: ConferenceName, watcher: pb.Watcher, *, known_only: bool) -> tuple[pb.Conference, bool]:
        """The conference with the subscription, and whether that was there before. ``known_only``: it has to be."""

        def apply(conference: pb.Conference) -> Outcome[tuple[pb.Conference, bool]]:
            if participant(conference, watcher.dialog.aor) is None:
                raise CommandFailed(Reason.FORBIDDEN, "only participants may watch")
            watcher.dialog.local_target = name_of(conference).focus
            before = next((one for one in conference.watchers if one.id == watcher.id), None)
            if before is not None:
                conference.watchers.remove(before)
            elif known_only:
                raise C3pError("there is no such subscription", 3012, 481)
            if sum(one.dialog.aor == watcher.dialog.aor for one in conference.watchers) >= _PER_USER:
                raise CommandFailed(Reason.FORBIDDEN, "too many subscriptions")
            conference.watchers.append(watcher)
            return (conference, before is not None), ()

        kept = await self._repository.change(name, apply)
        if kept is None:
            raise CommandFailed(Reason.CONFERENCE_DOES_NOT_EXIST)
        return kept

    def _answer(
        self, incoming: Incoming, name: ConferenceName, watcher: pb.Watcher, document: bytes, number: int, expires_s: int
    ) -> None:
        """The 200, with the first document where the client takes it there; else a NOTIFY after it."""
        headers = [
            ("Contact", f"<{name.focus}>;isfocus"), ("Expires", str(expires_s)), ("Event", _PACKAGE),
            ("Subscription-State", f"active;expires={expires_s}"),
        ]  # fmt: skip
        if document:
            headers += [("ms-piggyback-cseq", str(number)), ("Supported", "ms-benotify, ms-piggyback-first-notify")]
            headers.append(("Content-Type", INFO_TYPE))
        incoming.reply(200, None, headers, document, to_tag=tag_of(watcher.dialog), record_route=True)
        if not document:
            self._notifier.begin(name, watcher.id, incoming.span.traceparent if incoming.span else "")


def _accepts(request: Request) -> bool:
    accepts = {value.partition(";")[0].strip().lower() for value in request.values("Accept")}
    return not accepts or bool(accepts & {INFO_TYPE, "application/*", "*/*"})


def _id_of(incoming: Incoming, dialog: Dialog) -> str:
    request = incoming.request
    which = dialog.endpoint or f"{request.call_id}\n{request.from_tag}"
    return "w" + blake2s(f"{incoming.user_aor}\n{which}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
