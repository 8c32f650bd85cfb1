"""Endpoints that come and go, as the registrar's events tell."""

from __future__ import annotations

from parley.platform.clock import Clock
from parley.platform.events.api import Event
from parley.platform.telemetry.tracing import current_span
from parley.presence.model import drop_endpoint
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.changes import presence_event
from services.presence.repository import PresenceRepository

_MAX_ENDPOINTS = 32


class Endpoints:
    """Keeps the endpoints of presentities."""

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


def _same(endpoint: pb.Endpoint, changed: RegistrationChanged) -> bool:
    if changed.epid or endpoint.epid:
        return endpoint.epid == changed.epid
    if changed.instance and endpoint.instance:
        return endpoint.instance == changed.instance
    return endpoint.contact == changed.contact
