"""Participants whose clients are gone, and come back, as the registrar's events tell."""

from __future__ import annotations

from parley.conference.roster import note_client
from parley.platform.events.api import Event
from parley.platform.telemetry.tracing import current_span
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from services.conference.repository import ConferenceRepository, Outcome


class Clients:
    """Notes in each conference who has lost the connection."""

    def __init__(self, repository: ConferenceRepository) -> None:
        self._repository = repository

    async def on_registration_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.registrations``. Raises StoreError: the event comes again."""
        changed: RegistrationChanged = event.message
        lost = changed.kind != RegistrationChanged.KIND_REGISTERED
        for name in await self._repository.joined(changed.aor) if changed.epid else ():

            def apply(conference: pb.Conference) -> Outcome[bool]:
                now_ms = self._repository.now_ms()
                noted = note_client(conference, changed.aor, changed.epid, lost=lost, now_ms=now_ms)
                return noted, () if noted else None

            await self._repository.change(name, apply, current_span().traceparent)
