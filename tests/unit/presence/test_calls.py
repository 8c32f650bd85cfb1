"""Calls of a user as dialogs, from the facts that front ends tell, told once or again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.access import CallDetail
from parley.presence.aggregation import aggregate
from parley.presence.calls import MAX_CALLS, SHOWN_MS, dialogs, end_call, note_call, talks
from parley.presence.model import new_presentity, next_deadline_ms
from parley.presence.standard.dialog_info import DialogInfo, Party, build_dialog_info, parse_dialog_info
from parley.proto.events.v1.call_pb2 import CallChanged
from parley.proto.presence.v1 import state_pb2 as pb

ALICE, BOB = "sip:alice@example.test", "sip:bob@example.test"
STARTED, RINGING = CallChanged.KIND_STARTED, CallChanged.KIND_RINGING
ANSWERED, ENDED = CallChanged.KIND_ANSWERED, CallChanged.KIND_ENDED


def fact(
    kind: CallChanged.Kind.ValueType,
    at_ms: int = 1_000,
    *,
    call_id: str = "c",
    cause: str = "",
    status: int = 0,
    by: str = "",
) -> CallChanged:
    """What the front end of the caller tells."""
    return CallChanged(
        kind=kind, call_id=call_id, from_aor=ALICE, to_aor=BOB, at_ms=at_ms, voice=True, from_tag="a",
        to_tag="" if kind == STARTED else "b", edge_uid="e", cause=cause, status=status, ended_by=by,
    )  # fmt: skip


def shown(state: pb.Presentity, detail: CallDetail = CallDetail.STATE, now_ms: int = 2_000) -> list[str]:
    """The states of the dialogs that a watcher sees."""
    return [dialog.state for dialog in dialogs(state, detail, now_ms)]


@pytest.mark.parametrize(
    ("kinds", "caller", "callee"),
    [
        ([STARTED], ["trying"], []),
        ([STARTED, RINGING], ["early"], ["early"]),
        ([STARTED, RINGING, ANSWERED], ["confirmed"], ["confirmed"]),
        ([STARTED, ANSWERED], ["confirmed"], ["confirmed"]),
        ([STARTED, ENDED], ["terminated"], []),
        ([STARTED, RINGING, ENDED], ["terminated"], ["terminated"]),
    ],
)
def test_both_sides_follow_a_call(kinds: list[CallChanged.Kind.ValueType], caller: list[str], callee: list[str]) -> None:
    alice, bob = new_presentity(ALICE), new_presentity(BOB)
    for at, kind in enumerate(kinds, 1_000):
        note_call(alice, fact(kind, at, status=486), outgoing=True)
        note_call(bob, fact(kind, at, status=486), outgoing=False)
    assert (shown(alice), shown(bob)) == (caller, callee)


@pytest.mark.parametrize(
    ("cause", "status", "by", "caller", "callee"),
    [
        ("completed", 200, "caller", ("local-bye", 0), ("remote-bye", 0)),
        ("completed", 200, "callee", ("remote-bye", 0), ("local-bye", 0)),
        ("cancelled", 487, "caller", ("cancelled", 487), ("cancelled", 487)),
        ("busy", 486, "callee", ("rejected", 486), ("rejected", 486)),
        ("no_answer", 408, "server", ("timeout", 408), ("timeout", 408)),
        ("lost", 408, "server", ("error", 0), ("error", 0)),
    ],
)
def test_how_it_ended(cause: str, status: int, by: str, caller: tuple[str, int], callee: tuple[str, int]) -> None:
    for outgoing, expected in ((True, caller), (False, callee)):
        state = new_presentity(ALICE if outgoing else BOB)
        note_call(state, fact(RINGING), outgoing=outgoing)
        assert note_call(state, fact(ENDED, 2_000, cause=cause, status=status, by=by), outgoing=outgoing)
        assert (state.calls[0].ended, state.calls[0].code) == expected


def test_a_call_that_ended_is_shown_for_a_while_and_not_when_everything_is_told() -> None:
    state = new_presentity(ALICE)
    note_call(state, fact(STARTED), outgoing=True)
    note_call(state, fact(ENDED, 2_000), outgoing=True)
    assert shown(state, now_ms=2_000 + SHOWN_MS - 1) == ["terminated"]
    assert shown(state, now_ms=2_000 + SHOWN_MS) == []
    assert list(dialogs(state, CallDetail.PARTIES, 2_000, ended=False)) == []
    note_call(state, fact(STARTED, 2_000 + SHOWN_MS, call_id="d"), outgoing=True)
    assert [call.call_id for call in state.calls] == ["d"]


def test_what_each_watcher_sees() -> None:
    state = new_presentity(BOB)
    note_call(state, fact(RINGING), outgoing=False)
    (full,) = dialogs(state, CallDetail.PARTIES, 2_000)
    assert (full.call_id, full.local_tag, full.remote_tag, full.direction) == ("c", "b", "a", "recipient")
    assert (full.local, full.remote) == (Party(BOB, target=BOB), Party(ALICE, target=ALICE))
    (little,) = dialogs(state, CallDetail.STATE, 2_000)
    assert (little.id, little.state, little.call_id, little.remote, little.local_tag) == (full.id, "early", "", None, "")
    assert list(dialogs(state, CallDetail.NONE, 2_000)) == []
    assert list(dialogs(state, CallDetail.PARTIES, 2_000, only="other")) == []
    info = DialogInfo(BOB, 3, "full", (full, little))
    assert parse_dialog_info(build_dialog_info(info)) == info


def test_a_call_to_oneself_is_two_dialogs() -> None:
    state = new_presentity(ALICE)
    for outgoing in (True, False):
        note_call(state, fact(RINGING), outgoing=outgoing)
    assert len({dialog.id for dialog in dialogs(state, CallDetail.STATE, 2_000)}) == 2


def test_an_invite_that_is_sent_again_after_a_refusal_is_a_call() -> None:
    state = new_presentity(BOB)
    for at, kind in ((1_000, RINGING), (2_000, ENDED), (3_000, RINGING)):
        assert note_call(state, fact(kind, at, cause="busy", status=486), outgoing=False)
    assert shown(state, now_ms=3_000) == ["early"]


def test_only_an_answered_call_makes_busy() -> None:
    state = new_presentity(ALICE)
    state.endpoints.add(contact="sip:alice@192.0.2.1")
    for kind, busy in ((STARTED, False), (RINGING, False), (ANSWERED, True), (ENDED, False)):
        note_call(state, fact(kind, 1_000 + kind), outgoing=True)
        assert (talks(state), aggregate(state, 2).availability == 6_500) == (busy, busy)


def test_many_calls_are_bounded_and_looked_at_while_they_go_on() -> None:
    state = new_presentity(ALICE)
    for number in range(MAX_CALLS + 5):
        note_call(state, fact(STARTED, 1_000 + number, call_id=str(number)), outgoing=True)
    assert len(state.calls) == MAX_CALLS
    assert state.calls[-1].call_id == str(MAX_CALLS + 4)
    assert next_deadline_ms(state, 9_000) == 9_000
    for call in state.calls:
        assert end_call(call, "error", 0, 9_000)
        assert not end_call(call, "timeout", 408, 9_500)
    assert next_deadline_ms(state, 9_000) == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_facts_that_come_again_change_nothing(order: list[int]) -> None:
    facts = [fact(kind, 1_000 + kind, cause="completed", by="caller") for kind in (STARTED, RINGING, ANSWERED, ENDED)]
    once = new_presentity(ALICE)
    reached = 0
    for index in order:  # each fact comes first after those before it, then perhaps again
        reached = max(reached, min(index, reached + 1))
    for one in facts[: reached + 1]:
        assert note_call(once, one, outgoing=True)
    again = pb.Presentity.FromString(once.SerializeToString())
    for index in order:
        assert not note_call(again, facts[min(index, reached)], outgoing=True)
    assert again == once
