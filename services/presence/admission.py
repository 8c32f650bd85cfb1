"""Whether a subscription is taken, waits, or is refused (RFC 3857 section 4.7.1), by the containers of who is watched.

Communicator is never refused: who is blocked, or in no container, is shown what everybody may see. For standard clients
that state has a name.
"""

from __future__ import annotations

from enum import Enum

from parley.presence.access import CallDetail, Standing, call_detail, standing
from parley.presence.documents.publications import CATEGORIES_TYPE
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.packages import DIALOG


class Admission(Enum):
    """The state of a subscription to one user."""

    ACTIVE = "active"
    PENDING = "pending"
    REFUSED = "refused"


def admission(state: pb.Presentity, subscription: pb.Subscription, *, refuse_blocked: bool) -> Admission:
    """How a subscription to a user stands. ``refuse_blocked``: who is blocked is told so, and not shown somebody offline."""
    if subscription.format == CATEGORIES_TYPE or subscription.watcher == state.address:
        return Admission.ACTIVE
    found = standing(state, subscription.watcher)
    if found is Standing.WAITING:
        return Admission.PENDING
    if found is Standing.BLOCKED:
        return Admission.REFUSED if refuse_blocked else Admission.ACTIVE
    if subscription.event == DIALOG and call_detail(state, subscription.watcher) is CallDetail.NONE:
        return Admission.REFUSED
    return Admission.ACTIVE
