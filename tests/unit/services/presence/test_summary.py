"""A user's presence as people are shown it."""

from __future__ import annotations

from parley.presence.aggregation import level_name, write_aggregates
from parley.presence.model import PERSONAL, PUBLIC, new_presentity
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.summary import presence_shown, user_state


def sample() -> pb.Presentity:
    """Alice at her desk phone, in a call, with two notes."""
    state = new_presentity("sip:alice@example.test", "Alice")
    state.endpoints.add(contact="sip:alice@192.0.2.1", instance="urn:uuid:1")
    for container, text in ((PUBLIC, "for all"), (PERSONAL, "for friends")):
        content = f"<note><body>{text}</body></note>".encode()
        state.publications.add(category="note", instance=1, container=container, content=content, endpoint="e1")
    state.standard.add(availability=3_500, published_at_ms=5, expires_at_ms=9, note="of the phone")
    state.calls.add(call_id="c1", remote="sip:bob@example.test", outgoing=True, answered=True, at_ms=7)
    state.calls.add(call_id="c2", remote="sip:carol@example.test", answered=True, ended="local-bye", at_ms=6)
    state.calls.add(call_id="c3", remote="sip:dave@example.test", ringing=True, at_ms=8)
    write_aggregates(state, 1_000)
    return state


def test_what_it_comes_to() -> None:
    shown = user_state(sample(), 7)
    assert (shown.address, shown.display_name, shown.version) == ("sip:alice@example.test", "Alice", 7)
    assert (shown.availability, shown.activity, shown.since_ms) == (6_500, "on-the-phone", 1_000)
    assert (shown.note, shown.in_call) == ("for friends", True)


def test_the_note_of_a_phone_counts_when_there_is_no_other() -> None:
    state = sample()
    del state.publications[:]
    assert user_state(state, 1).note == "of the phone"


def test_what_it_is_made_of() -> None:
    shown = presence_shown(sample(), 1)
    assert [endpoint.contact for endpoint in shown.endpoints] == ["sip:alice@192.0.2.1"]
    assert [(call.call_id, call.remote, call.outgoing) for call in shown.calls] == [("c1", "sip:bob@example.test", True)]
    assert [(phone.availability, phone.expires_at_ms) for phone in shown.phones] == [(3_500, 9)]
    states = {item.kind for item in shown.publications if item.category == "state"}
    assert states == {"aggregateState", "aggregateMachineState"}
    assert {item.endpoint for item in shown.publications if item.category == "note"} == {"e1"}


def test_names_of_availabilities() -> None:
    names = [level_name(number) for number in (0, 3_500, 5_000, 6_500, 7_500, 9_500, 12_500, 15_500, 18_500)]
    assert names == [
        "unknown", "available", "idle", "busy", "busy, idle", "do not disturb", "be right back", "away", "offline",
    ]  # fmt: skip
