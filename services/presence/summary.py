"""A user's presence as people are shown it, whoever asks: nothing is hidden, as those who ask run the server."""

from __future__ import annotations

from parley.presence.calls import talks
from parley.presence.model import COMPANY, PERSONAL, PUBLIC, TEAM
from parley.proto.presence.v1 import presence_pb2 as api
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.views import note_of

_NOTE_CONTAINERS = (PERSONAL, TEAM, COMPANY, PUBLIC, 3, 2)
"""Where a note is looked for, the closest people's first."""


def user_state(state: pb.Presentity, version: int) -> api.UserState:
    """What a user's presence comes to; ``version``: of the state."""
    return api.UserState(
        address=state.address, display_name=state.display_name, availability=state.availability, activity=state.activity,
        note=next((note for note in (note_of(state, container) for container in _NOTE_CONTAINERS) if note), ""),
        in_call=talks(state), since_ms=state.changed_at_ms, version=version,
    )  # fmt: skip


def presence_shown(state: pb.Presentity, version: int) -> api.ShowPresenceResponse:
    """All of it, but for what is counted elsewhere."""
    shown = api.ShowPresenceResponse(state=user_state(state, version))
    for endpoint in state.endpoints:
        shown.endpoints.add(contact=endpoint.contact, epid=endpoint.epid, instance=endpoint.instance)
    for item in state.publications:
        shown.publications.add(
            category=item.category, instance=item.instance, container=item.container, version=item.version,
            expire_type=item.expire_type, published_at_ms=item.published_at_ms, expires_at_ms=item.expires_at_ms,
            endpoint=item.endpoint, kind=item.state.kind, availability=item.state.availability,
        )  # fmt: skip
    for phone in state.standard:
        shown.phones.add(
            availability=phone.availability, activity=phone.activity, note=phone.note,
            published_at_ms=phone.published_at_ms, expires_at_ms=phone.expires_at_ms,
        )  # fmt: skip
    for call in state.calls:
        if call.answered and not call.ended:
            shown.calls.add(call_id=call.call_id, remote=call.remote, outgoing=call.outgoing, since_ms=call.at_ms)
    return shown
