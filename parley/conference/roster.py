"""Who takes part in a conference, in which role, and until when: pure changes of its state (MS-CONFBAS section 3.4).

A participant is a user with at least one endpoint at the focus; endpoints at conferencing servers go with the last of those.
An endpoint whose client is gone keeps its place for a while, as clients come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley.c3p.errors import CommandFailed, Reason
from parley.conference.uris import FOCUS
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.sip.v1.dialog_pb2 import Dialog

GRACE_MS: Final = 90_000
"""How long a participant whose client is gone keeps the place."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A participant that is no more, and the dialogs and subscriptions that end with it."""

    address: str
    reason: str
    """"departed", "booted" or "failed"."""
    dialogs: tuple[Dialog, ...]
    watchers: tuple[pb.Watcher, ...]


def participant(conference: pb.Conference, address: str) -> pb.Participant | None:
    """The participant with an address of record."""
    return next((one for one in conference.participants if one.address == address), None)


def endpoint_of(found: pb.Participant, session_type: str, endpoint: str) -> pb.Endpoint | None:
    """An endpoint by kind and name, whatever its case."""
    wanted = endpoint.lower()
    return next((one for one in found.endpoints if one.session_type == session_type and one.id.lower() == wanted), None)


def is_presenter(conference: pb.Conference, address: str) -> bool:
    """Whether an address of record may command."""
    found = participant(conference, address)
    return found is not None and found.presenter


def admit(conference: pb.Conference, address: str, *, most: int) -> bool:
    """The role that is granted: True for a presenter. Raises CommandFailed for who may not come in."""
    organizer = address == conference.organizer
    invited = next((one for one in conference.invitees if one.address == address), None)
    if participant(conference, address) is None:
        closed = conference.admission_policy == pb.ADMISSION_POLICY_CLOSED_AUTHENTICATED
        if closed and not organizer and invited is None:
            raise CommandFailed(Reason.FORBIDDEN, "the conference is for those who are invited")
        if conference.locked and not organizer:
            raise CommandFailed(Reason.FORBIDDEN, "the conference is locked")
        if len(conference.participants) >= most:
            raise CommandFailed(Reason.MAXIMUM_MEETING_SIZE_EXCEEDED, "the conference is full")
    return organizer or is_presenter(conference, address) or (invited is not None and invited.presenter)


def join_focus(
    conference: pb.Conference, address: str, name: str, endpoint: str, dialog: Dialog, *, presenter: bool, now_ms: int
) -> list[Dialog]:
    """Puts an endpoint at the focus; gives back dialogs that it takes the place of."""
    found = participant(conference, address)
    if found is None:
        found = conference.participants.add(address=address)
    found.display_name, found.presenter = name, presenter
    stale = [
        one for one in found.endpoints
        if one.session_type == FOCUS and (one.id.lower() == endpoint.lower() or _same_client(one.dialog, dialog))
    ]  # fmt: skip
    for one in stale:
        found.endpoints.remove(one)
    found.endpoints.add(id=endpoint, session_type=FOCUS, joined_at_ms=now_ms, dialog=dialog)
    conference.activated_at_ms = now_ms
    return [one.dialog for one in stale if one.dialog.call_id != dialog.call_id]


def join_server(found: pb.Participant, session_type: str, endpoint: str, now_ms: int, *, connected: bool) -> bool:
    """Lets an endpoint in at a conferencing server, or notes that it is connected; False when that is nothing new."""
    place = endpoint_of(found, session_type, endpoint)
    if place is None:
        found.endpoints.add(id=endpoint, session_type=session_type, joined_at_ms=now_ms, dialing_in=not connected)
        return True
    if not (connected and place.dialing_in):
        return False
    place.dialing_in = False
    return True


def leave_server(conference: pb.Conference, address: str, session_type: str, endpoint: str) -> bool:
    """Takes an endpoint off a conferencing server; False when it is not there."""
    found = participant(conference, address)
    place = endpoint_of(found, session_type, endpoint) if found is not None else None
    if found is None or place is None:
        return False
    found.endpoints.remove(place)
    return True


def leave_focus(conference: pb.Conference, address: str, call_id: str) -> Removed | None:
    """Ends the focus dialog of a client; the participant, when that was its last one."""
    found = participant(conference, address)
    if found is None:
        return None
    for one in [one for one in found.endpoints if one.session_type == FOCUS and one.dialog.call_id == call_id]:
        found.endpoints.remove(one)
    if any(one.session_type == FOCUS for one in found.endpoints):
        return None
    return remove(conference, address, "departed")


def remove(conference: pb.Conference, address: str, reason: str) -> Removed | None:
    """Takes a participant out, with all endpoints and subscriptions."""
    found = participant(conference, address)
    if found is None:
        return None
    dialogs = tuple(one.dialog for one in found.endpoints if one.session_type == FOCUS)
    watchers = tuple(one for one in conference.watchers if one.dialog.aor == address)
    for watcher in watchers:
        conference.watchers.remove(watcher)
    removed = Removed(address, reason, dialogs, watchers)
    conference.participants.remove(found)
    if not conference.participants:
        conference.locked = False
    return removed


def note_client(conference: pb.Conference, address: str, endpoint: str, *, lost: bool, now_ms: int) -> bool:
    """Notes that a client (by epid) is gone or back; False when that is nothing new."""
    changed = False
    found = participant(conference, address)
    for one in found.endpoints if found is not None else ():
        if one.session_type == FOCUS and one.dialog.endpoint == endpoint and bool(one.lost_at_ms) is not lost:
            one.lost_at_ms = now_ms if lost else 0
            changed = True
    return changed


def drop_due(conference: pb.Conference, now_ms: int, *, longest_ms: int) -> tuple[list[Removed], list[pb.Watcher]]:
    """Takes out participants whose clients stay away and subscriptions that nobody refreshed.

    ``longest_ms``: after the last one joined everybody has to leave.
    """
    removed: list[Removed] = []
    over = conference.activated_at_ms + longest_ms <= now_ms
    for found in list(conference.participants):
        lost = [one for one in found.endpoints if _is_lost(one, now_ms)]
        here = any(one.session_type == FOCUS and one not in lost for one in found.endpoints)
        if over or not here:
            gone = remove(conference, found.address, "booted" if over else "failed")
            removed += [gone] if gone is not None else []
            continue
        for one in lost:
            found.endpoints.remove(one)
    ended = [one for one in conference.watchers if not one.autoextend and one.expires_at_ms <= now_ms]
    for watcher in ended:
        conference.watchers.remove(watcher)
    return removed, ended


def next_deadline_ms(conference: pb.Conference, *, longest_ms: int) -> int:
    """When something of the conference is due; 0 for never."""
    due = [one.expires_at_ms for one in conference.watchers if not one.autoextend]
    if conference.expires_at_ms:
        due.append(conference.expires_at_ms)
    if conference.participants:
        due.append(conference.activated_at_ms + longest_ms)
    for found in conference.participants:
        due += [one.lost_at_ms + GRACE_MS for one in found.endpoints if one.lost_at_ms]
    return min(due, default=0)


def _is_lost(endpoint: pb.Endpoint, now_ms: int) -> bool:
    return bool(endpoint.lost_at_ms) and endpoint.lost_at_ms + GRACE_MS <= now_ms


def _same_client(dialog: Dialog, other: Dialog) -> bool:
    return bool(dialog.endpoint) and dialog.endpoint == other.endpoint
