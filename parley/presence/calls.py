"""The calls that a user takes part in, from what the front ends tell of them, as dialogs (RFC 4235).

A caller has a dialog from the INVITE on, a callee once a phone rings or answers. However many phones a call forks to, it is
one dialog of its callee: the tag is that of the phone that rang first, then of the one that answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2s
from typing import Final, cast

from parley.presence.access import CallDetail
from parley.presence.standard.dialog_info import Dialog, DialogState, Direction, Ended, Party
from parley.proto.events.v1.call_pb2 import CallChanged
from parley.proto.presence.v1 import state_pb2 as pb

MAX_CALLS: Final = 32
"""Kept of one user; the oldest is given up."""
SHOWN_MS: Final = 32_000
"""For so long a call that ended is told of: whoever missed it has asked anew by then."""

_LATER: Final = (CallChanged.KIND_RINGING, CallChanged.KIND_ANSWERED)


def note_call(state: pb.Presentity, changed: CallChanged, *, outgoing: bool) -> bool:
    """Applies what a front end tells of a call of this user, whose side ``outgoing`` says; whether anything is new."""
    found = next((call for call in state.calls if _same(call, changed, outgoing)), None)
    if found is not None and found.ended and changed.at_ms > found.at_ms:
        state.calls.remove(found)  # an INVITE that was refused is sent again under the same Call-ID
        found = None
    if changed.kind == CallChanged.KIND_ENDED:
        return found is not None and end_call(found, *_ending(changed, outgoing), changed.at_ms)
    if found is None:
        if not outgoing and changed.kind not in _LATER:
            return False
        found = _new(state, changed, outgoing)
    elif found.ended or found.answered or changed.at_ms < found.at_ms:
        return False  # told again
    answered, ringing = changed.kind == CallChanged.KIND_ANSWERED, changed.kind in _LATER
    if (found.answered, found.ringing, found.at_ms) == (answered, ringing, changed.at_ms):
        return False
    found.answered, found.ringing, found.at_ms = answered, ringing, changed.at_ms
    found.callee_tag = changed.to_tag or found.callee_tag
    return True


def _same(call: pb.Call, changed: CallChanged, outgoing: bool) -> bool:
    return (call.call_id, call.caller_tag, call.outgoing) == (changed.call_id, changed.from_tag, outgoing)


def _new(state: pb.Presentity, changed: CallChanged, outgoing: bool) -> pb.Call:
    kept = [call for call in state.calls if not call.ended or changed.at_ms - call.at_ms < SHOWN_MS]
    del state.calls[:]
    state.calls.extend(kept[-MAX_CALLS + 1 :])
    return state.calls.add(
        call_id=changed.call_id, caller_tag=changed.from_tag, outgoing=outgoing,
        remote=changed.to_aor if outgoing else changed.from_aor, edge_uid=changed.edge_uid,
    )  # fmt: skip


def end_call(call: pb.Call, how: Ended, code: int, at_ms: int) -> bool:
    """A call is over; whether that is new."""
    if call.ended:
        return False
    call.ended, call.code, call.at_ms = how, code, at_ms
    return True


def _ending(changed: CallChanged, outgoing: bool) -> tuple[Ended, int]:
    """How it ended as this side sees it, and the status."""
    if changed.cause == "completed":
        own = (changed.ended_by == "caller") is outgoing
        return ("local-bye" if own else "remote-bye"), 0
    if changed.cause == "cancelled":
        return "cancelled", changed.status
    if changed.cause == "lost":
        return "error", 0
    return ("timeout" if changed.status == 408 else "rejected"), changed.status


def talks(state: pb.Presentity) -> bool:
    """Whether the user is in a call that was answered."""
    return any(call.answered and not call.ended for call in state.calls)


def dialogs(
    state: pb.Presentity, detail: CallDetail, now_ms: int, *, only: str = "", ended: bool = True
) -> Iterator[Dialog]:
    """The user's calls as a watcher may see them.

    ``only``: Call-ID of the one that is asked for; ``ended``: with those that ended just now.
    """
    if detail is CallDetail.NONE:
        return
    for call in state.calls:
        over = bool(call.ended)
        if (only and call.call_id != only) or (over and (not ended or now_ms - call.at_ms >= SHOWN_MS)):
            continue
        yield _dialog(state.address, call, detail)


def _dialog(user: str, call: pb.Call, detail: CallDetail) -> Dialog:
    text = f"{call.call_id}\n{call.caller_tag}\n{call.outgoing}"
    identifier = blake2s(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    direction: Direction = "initiator" if call.outgoing else "recipient"
    how = cast(Ended, call.ended) if call.ended else None
    if detail is CallDetail.STATE:
        return Dialog(identifier, _state(call), direction=direction, ended=how)
    own, other = (call.caller_tag, call.callee_tag) if call.outgoing else (call.callee_tag, call.caller_tag)
    return Dialog(
        identifier, _state(call), call_id=call.call_id, local_tag=own, remote_tag=other, direction=direction, ended=how,
        code=call.code or None, local=Party(user, target=user), remote=Party(call.remote, target=call.remote),
    )  # fmt: skip


def _state(call: pb.Call) -> DialogState:
    if call.ended:
        return "terminated"
    if call.answered:
        return "confirmed"
    return "early" if call.ringing else "trying"
