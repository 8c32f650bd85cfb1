"""Endpoints that come and go, and calls that users take part in, as the events of other services tell."""

from __future__ import annotations

from parley.platform.clock import Clock
from parley.platform.events.api import Event
from parley.platform.telemetry.tracing import current_span
from parley.presence.model import drop_endpoint
from parley.proto.events.v1.call_pb2 import CallChanged
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.changes import presence_event
from services.presence.repository import PresenceRepository

_MAX_ENDPOINTS = 32
_MAX_CALLS = 32


class Endpoints:
    """Keeps the endpoints and calls of presentities."""

    def __init__(self, repository: PresenceRepository, clock: Clock) -> None:
        self._repository = repository
        self._clock = clock

    async def on_registration_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.registrations``. Raises StoreError: the event comes again."""
        changed: RegistrationChanged = event.message
        now_ms = int(self._clock.wall() * 1000)
        came = changed.kind == RegistrationChanged.KIND_REGISTERED

        def apply(state: pb.Presentity) -> tuple[None, PresenceChanged | None]:
            before = [(one.contact, one.epid) for one in state.endpoints]
            kept = [one for one in state.endpoints if not _same(one, changed)]
            if not came and not changed.remaining:
                kept = []
            if came:
                kept.append(pb.Endpoint(contact=changed.contact, epid=changed.epid, instance=changed.instance))
            del state.endpoints[:]
            state.endpoints.extend(kept[-_MAX_ENDPOINTS:])
            if [(one.contact, one.epid) for one in state.endpoints] == before:
                return None, None
            gone = set()
            if not came and changed.epid and not any(one.epid == changed.epid for one in state.endpoints):
                gone = drop_endpoint(state, changed.epid)
            own = {category for category, _, _ in gone}
            seen = {category for category, _, container in gone if container not in (1, 2, 3)}
            return None, presence_event(state, own, seen, now_ms)

        await self._repository.change(changed.aor, apply, current_span().traceparent)

    async def on_call_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.calls``. Raises StoreError."""
        changed: CallChanged = event.message
        if changed.kind in (CallChanged.KIND_STARTED, CallChanged.KIND_RINGING):
            return
        for aor, remote, outgoing in (
            (changed.from_aor, changed.to_aor, True),
            (changed.to_aor, changed.from_aor, False),
        ):
            await self._call(aor, remote, outgoing, changed, current_span().traceparent)

    async def _call(self, aor: str, remote: str, outgoing: bool, changed: CallChanged, traceparent: str) -> None:
        now_ms = int(self._clock.wall() * 1000)

        def apply(state: pb.Presentity) -> tuple[None, PresenceChanged | None]:
            kept = [call for call in state.calls if call.call_id != changed.call_id]
            if changed.kind == CallChanged.KIND_ANSWERED and changed.voice:
                call = pb.Call(call_id=changed.call_id, remote=remote, outgoing=outgoing, answered=True, at_ms=changed.at_ms)
                kept.append(call)
            if len(kept) == len(state.calls):
                return None, None
            del state.calls[:]
            state.calls.extend(kept[-_MAX_CALLS:])
            event = presence_event(state, set(), set(), now_ms)
            event.calls = True
            return None, event

        if aor.startswith("sip:"):
            await self._repository.change(aor, apply, traceparent)


def _same(endpoint: pb.Endpoint, changed: RegistrationChanged) -> bool:
    if changed.epid or endpoint.epid:
        return endpoint.epid == changed.epid
    if changed.instance and endpoint.instance:
        return endpoint.instance == changed.instance
    return endpoint.contact == changed.contact
