"""Who is let in, who waits, who is refused; who sees what of calls."""

from __future__ import annotations

import pytest

from parley.presence.access import CallDetail, Standing, call_detail, standing
from parley.presence.documents.publications import CATEGORIES_TYPE
from parley.presence.model import new_presentity
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.admission import Admission, admission
from services.presence.packages import DIALOG, FORMATS, PRESENCE

ALICE, BOB, STRANGER = "sip:alice@example.test", "sip:bob@example.test", "sip:eve@elsewhere.test"


def alice(container: int | None = None, member: str = BOB) -> pb.Presentity:
    """Alice, with somebody in a container of hers."""
    state = new_presentity(ALICE)
    if container is not None:
        found = next(one for one in state.containers if one.id == container)
        found.members.add(type="user", value=member.removeprefix("sip:"))
    return state


def closed() -> pb.Presentity:
    """Alice, who lets nobody in unasked."""
    state = new_presentity(ALICE)
    for container in state.containers:
        del container.members[:]
    return state


@pytest.mark.parametrize(
    ("state", "watcher", "expected", "detail"),
    [
        (alice(), BOB, Standing.ADMITTED, CallDetail.STATE),
        (alice(), STRANGER, Standing.ADMITTED, CallDetail.NONE),
        (alice(300), BOB, Standing.ADMITTED, CallDetail.PARTIES),
        (alice(400), BOB, Standing.ADMITTED, CallDetail.PARTIES),
        (alice(100), BOB, Standing.ADMITTED, CallDetail.NONE),
        (alice(32_000), BOB, Standing.BLOCKED, CallDetail.NONE),
        (closed(), BOB, Standing.WAITING, CallDetail.NONE),
        (closed(), ALICE, Standing.ADMITTED, CallDetail.PARTIES),
    ],
)
def test_standing(state: pb.Presentity, watcher: str, expected: Standing, detail: CallDetail) -> None:
    assert (standing(state, watcher), call_detail(state, watcher)) == (expected, detail)


@pytest.mark.parametrize(
    ("state", "event", "refuse", "expected"),
    [
        (alice(), PRESENCE, False, Admission.ACTIVE),
        (alice(), DIALOG, False, Admission.ACTIVE),
        (alice(100), PRESENCE, False, Admission.ACTIVE),
        (alice(100), DIALOG, False, Admission.REFUSED),
        (alice(32_000), PRESENCE, False, Admission.ACTIVE),
        (alice(32_000), DIALOG, False, Admission.ACTIVE),
        (alice(32_000), PRESENCE, True, Admission.REFUSED),
        (alice(32_000), DIALOG, True, Admission.REFUSED),
        (closed(), PRESENCE, True, Admission.PENDING),
        (closed(), DIALOG, True, Admission.PENDING),
    ],
)
def test_standard_clients(state: pb.Presentity, event: str, refuse: bool, expected: Admission) -> None:
    subscription = pb.Subscription(watcher=BOB, event=event, format=FORMATS[event])
    assert admission(state, subscription, refuse_blocked=refuse) is expected


def test_communicator_and_the_user_are_never_refused() -> None:
    blocked = pb.Subscription(watcher=BOB, event=PRESENCE, format=CATEGORIES_TYPE)
    assert admission(alice(32_000), blocked, refuse_blocked=True) is Admission.ACTIVE
    own = pb.Subscription(watcher=ALICE, event=DIALOG, format=FORMATS[DIALOG])
    assert admission(closed(), own, refuse_blocked=True) is Admission.ACTIVE
