"""Who takes part in a conference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.c3p.errors import CommandFailed, Reason
from parley.conference.roster import (
    GRACE_MS,
    admit,
    drop_due,
    endpoint_of,
    join_focus,
    join_server,
    leave_focus,
    leave_server,
    next_deadline_ms,
    note_client,
    participant,
    remove,
)
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.sip.v1.dialog_pb2 import Dialog

ALICE, BOB, CAROL = (f"sip:{name}@example.test" for name in ("alice", "bob", "carol"))
HOUR_MS = 3_600_000


def conference(**more: object) -> pb.Conference:
    made = pb.Conference(
        organizer=ALICE, id="0123456789", mcu_types=["chat"], admission_policy=pb.ADMISSION_POLICY_OPEN_AUTHENTICATED
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


def join(
    state: pb.Conference, address: str, *, epid: str = "e1", call_id: str = "c1", endpoint: str = "{1}", at_ms: int = 1
) -> list[Dialog]:
    dialog = Dialog(call_id=call_id, aor=address, endpoint=epid)
    presenter = admit(state, address, most=3)
    return join_focus(state, address, address, endpoint, dialog, presenter=presenter, now_ms=at_ms)


def watcher(address: str, *, expires_at_ms: int = 0, autoextend: bool = True) -> pb.Watcher:
    return pb.Watcher(id=f"w{address}", dialog=Dialog(aor=address), expires_at_ms=expires_at_ms, autoextend=autoextend)


def test_the_organizer_presents_and_others_attend() -> None:
    state = conference()
    state.invitees.add(address=CAROL, presenter=True)
    for address in (ALICE, BOB, CAROL):
        join(state, address)
    roles = {one.address: one.presenter for one in state.participants}
    assert roles == {ALICE: True, BOB: False, CAROL: True}


def test_a_locked_conference_takes_only_who_is_in_and_its_organizer() -> None:
    state = conference()
    join(state, BOB)
    state.locked = True
    with pytest.raises(CommandFailed) as caught:
        join(state, CAROL)
    assert caught.value.reason is Reason.FORBIDDEN
    join(state, BOB, call_id="c2", endpoint="{2}", epid="e2")
    join(state, ALICE)
    assert [one.address for one in state.participants] == [BOB, ALICE]


def test_a_closed_conference_takes_who_is_invited() -> None:
    state = conference(admission_policy=pb.ADMISSION_POLICY_CLOSED_AUTHENTICATED)
    state.invitees.add(address=BOB)
    join(state, BOB)
    with pytest.raises(CommandFailed):
        join(state, CAROL)


def test_a_full_conference_takes_nobody_more() -> None:
    state = conference()
    for number in range(3):
        join(state, f"sip:u{number}@example.test")
    with pytest.raises(CommandFailed) as caught:
        join(state, BOB)
    assert caught.value.reason is Reason.MAXIMUM_MEETING_SIZE_EXCEEDED


def test_a_client_that_joins_again_takes_the_place_of_its_old_dialog() -> None:
    state = conference()
    join(state, BOB, call_id="c1", endpoint="{1}")
    stale = join(state, BOB, call_id="c2", endpoint="{2}")
    assert [dialog.call_id for dialog in stale] == ["c1"]
    assert [one.id for one in state.participants[0].endpoints] == ["{2}"]
    assert join(state, BOB, call_id="c3", endpoint="{3}", epid="other") == []
    assert len(state.participants[0].endpoints) == 2


def test_chat_ends_with_the_last_focus_dialog_of_a_user() -> None:
    state = conference(locked=False)
    join(state, BOB)
    join(state, BOB, call_id="c2", endpoint="{2}", epid="e2")
    found = participant(state, BOB)
    assert found is not None
    assert join_server(found, "chat", "{chat}", 5, connected=False)
    assert not join_server(found, "chat", "{chat}", 5, connected=False)
    assert join_server(found, "chat", "{CHAT}", 6, connected=True)
    assert not join_server(found, "chat", "{CHAT}", 6, connected=True)
    assert not join_server(found, "chat", "{chat}", 7, connected=False)
    state.watchers.append(watcher(BOB))
    assert leave_focus(state, BOB, "c1") is None
    assert endpoint_of(found, "chat", "{chat}") is not None
    gone = leave_focus(state, BOB, "c2")
    assert gone is not None
    assert (gone.address, gone.reason, gone.dialogs, len(gone.watchers)) == (BOB, "departed", (), 1)
    assert not state.participants
    assert not state.watchers


def test_who_is_thrown_out_is_told_in_every_dialog() -> None:
    state = conference(locked=True)
    state.locked = False
    join(state, BOB)
    join(state, BOB, call_id="c2", endpoint="{2}", epid="e2")
    state.locked = True
    gone = remove(state, BOB, "booted")
    assert gone is not None
    assert sorted(dialog.call_id for dialog in gone.dialogs) == ["c1", "c2"]
    assert not state.locked, "the next meeting begins open"
    assert remove(state, BOB, "booted") is None


def test_leaving_a_server_that_one_is_not_at_changes_nothing() -> None:
    state = conference()
    join(state, BOB)
    assert not leave_server(state, BOB, "chat", "{x}")
    assert not leave_server(state, CAROL, "chat", "{x}")


def test_a_client_that_is_gone_keeps_its_place_for_a_while() -> None:
    state = conference()
    join(state, BOB, at_ms=1_000)
    assert note_client(state, BOB, "e1", lost=True, now_ms=2_000)
    assert not note_client(state, BOB, "e1", lost=True, now_ms=2_001)
    assert not note_client(state, BOB, "other", lost=True, now_ms=2_001)
    assert next_deadline_ms(state, longest_ms=HOUR_MS) == 2_000 + GRACE_MS
    assert drop_due(state, 1_999 + GRACE_MS, longest_ms=HOUR_MS) == ([], [])
    assert note_client(state, BOB, "e1", lost=False, now_ms=3_000)
    assert drop_due(state, 2_000 + GRACE_MS, longest_ms=HOUR_MS) == ([], [])
    note_client(state, BOB, "e1", lost=True, now_ms=4_000)
    (gone,), _ = drop_due(state, 4_000 + GRACE_MS, longest_ms=HOUR_MS)
    assert (gone.address, gone.reason) == (BOB, "failed")


def test_of_two_clients_the_one_that_stays_away_goes() -> None:
    state = conference()
    join(state, BOB, at_ms=1_000)
    join(state, BOB, call_id="c2", endpoint="{2}", epid="e2", at_ms=1_000)
    note_client(state, BOB, "e1", lost=True, now_ms=2_000)
    assert drop_due(state, 2_000 + GRACE_MS, longest_ms=HOUR_MS) == ([], [])
    assert [one.id for one in state.participants[0].endpoints] == ["{2}"]
    assert next_deadline_ms(state, longest_ms=HOUR_MS) == 1_000 + HOUR_MS


def test_a_meeting_that_is_too_long_ends_for_all() -> None:
    state = conference()
    join(state, ALICE, at_ms=1)
    join(state, BOB, at_ms=10)
    assert next_deadline_ms(state, longest_ms=HOUR_MS) == 10 + HOUR_MS
    removed, _ = drop_due(state, 10 + HOUR_MS, longest_ms=HOUR_MS)
    assert [(one.address, one.reason) for one in removed] == [(ALICE, "booted"), (BOB, "booted")]


def test_a_subscription_that_nobody_refreshes_ends() -> None:
    state = conference()
    state.watchers.append(watcher(ALICE, expires_at_ms=50, autoextend=True))
    state.watchers.append(watcher(BOB, expires_at_ms=60, autoextend=False))
    assert next_deadline_ms(state, longest_ms=HOUR_MS) == 60
    assert [one.dialog.aor for one in drop_due(state, 60, longest_ms=HOUR_MS)[1]] == [BOB]
    assert [one.dialog.aor for one in state.watchers] == [ALICE]


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "chat", "unchat", "lost", "back", "boot"]),
              st.sampled_from([ALICE, BOB, CAROL]), st.sampled_from(["e1", "e2"])),
    max_size=40,
)  # fmt: skip


@given(STEPS)
def test_nobody_is_left_half_in(steps: list[tuple[str, str, str]]) -> None:
    """Whatever happens, a participant has a focus dialog for each client at most once, and a chat only with one."""
    state = conference()
    for number, (step, address, epid) in enumerate(steps):
        found = participant(state, address)
        if step == "join":
            join(state, address, epid=epid, call_id=f"{address}{epid}", endpoint=f"{{{number}}}")
        elif step == "leave":
            leave_focus(state, address, f"{address}{epid}")
        elif step == "chat" and found is not None:
            join_server(found, "chat", f"{{chat-{epid}}}", number, connected=number % 2 == 0)
        elif step == "unchat":
            leave_server(state, address, "chat", f"{{chat-{epid}}}")
        elif step in ("lost", "back"):
            note_client(state, address, epid, lost=step == "lost", now_ms=number)
        elif step == "boot":
            remove(state, address, "booted")
        for one in state.participants:
            dialogs = [place.dialog.endpoint for place in one.endpoints if place.session_type == "focus"]
            assert dialogs
            assert len(set(dialogs)) == len(dialogs)
            names = [place.id for place in one.endpoints if place.session_type == "chat"]
            assert len(set(names)) == len(names)
        assert len({one.address for one in state.participants}) == len(state.participants)
