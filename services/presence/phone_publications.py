"""PUBLISH of standard phones (RFC 3903): one document for each entity tag, until it expires."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

from parley.platform.applications.host import Incoming
from parley.platform.clock import Clock
from parley.presence.errors import PresenceError, TooLarge
from parley.presence.standard.availability import availability_of
from parley.presence.standard.errors import DocumentError
from parley.presence.standard.pidf import CONTENT_TYPE, parse_pidf
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.errors import interval_too_brief
from parley.sip.uri import aor
from services.presence.changes import presence_event
from services.presence.config import PresenceConfig
from services.presence.repository import PresenceRepository
from services.presence.wishes import content_type_of

_MAX_PUBLICATIONS: Final = 16


class PhonePublications:
    """Takes PUBLISH requests."""

    def __init__(self, config: PresenceConfig, repository: PresenceRepository, clock: Clock) -> None:
        self._config = config
        self._repository = repository
        self._clock = clock

    async def handle(self, incoming: Incoming) -> None:
        """Answers a PUBLISH. Raises PresenceError, StoreError."""
        request = incoming.request
        user = aor(request.uri)
        if user != incoming.user_aor:
            raise PresenceError("only the user may publish that", 403)
        tag = (request.get("SIP-If-Match") or "").strip()
        expires = request.expires if request.expires is not None else self._config.publish_seconds
        if 0 < expires < self._config.min_subscription_seconds:
            raise interval_too_brief(self._config.min_subscription_seconds)
        expires = min(expires, self._config.max_subscription_seconds)
        if not request.body and not tag:
            raise PresenceError("a first publication needs a document", 400)
        document = self._document(incoming) if request.body and expires else None
        new_tag = token_hex(8)
        now_ms = int(self._clock.wall() * 1000)

        def apply(state: pb.Presentity) -> tuple[None, PresenceChanged]:
            known = next((one for one in state.standard if one.entity_tag == tag and one.expires_at_ms > now_ms), None)
            if tag and known is None:
                raise PresenceError("there is no such publication", 412)
            if known is not None:
                state.standard.remove(known)
            if expires:
                if len(state.standard) >= _MAX_PUBLICATIONS:
                    raise TooLarge("too many publications")
                entry = state.standard.add()
                source = document or known
                assert source is not None  # a first publication has a document, a later one what is known
                entry.CopyFrom(source)
                entry.entity_tag, entry.expires_at_ms, entry.published_at_ms = new_tag, now_ms + expires * 1000, now_ms
            return None, presence_event(state, set(), {"note"}, now_ms)

        await self._repository.change(user, apply, incoming.span.traceparent if incoming.span is not None else "")
        incoming.reply(200, None, (("SIP-ETag", new_tag), ("Expires", str(expires))))

    @staticmethod
    def _document(incoming: Incoming) -> pb.StandardPublication:
        request = incoming.request
        content_type = content_type_of(request)
        if content_type != CONTENT_TYPE:
            raise PresenceError("the document is no PIDF", 415)
        try:
            pidf = parse_pidf(request.body)
        except DocumentError as error:
            raise PresenceError(str(error), 400) from None
        availability, activity = availability_of(pidf)
        notes = (*pidf.notes, *pidf.person_notes, *(item.note for item in pidf.tuples if item.note))
        return pb.StandardPublication(
            document=request.body, content_type=content_type, availability=availability, activity=activity,
            note=next(iter(notes), "")[:256],
        )  # fmt: skip
