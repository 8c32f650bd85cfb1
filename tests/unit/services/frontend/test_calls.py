"""Call facts: which messages start, ring, answer and end a call."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from parley.proto.events.v1.call_pb2 import CallChanged
from services.frontend.calls import CallKey, CallTracker, offers_media

KEY = CallKey("abc@host", "from1")


@pytest.fixture
def tracker() -> CallTracker:
    return CallTracker()


def start(tracker: CallTracker, now: float = 100.0) -> CallChanged | None:
    return tracker.started(KEY, from_aor="sip:alice@example.test", to_aor="sip:bob@example.test", now=now)


def test_answered_call_has_every_fact_once(tracker: CallTracker) -> None:
    started = start(tracker)
    assert started is not None
    assert (started.kind, started.from_aor, started.at_ms) == (
        CallChanged.KIND_STARTED,
        "sip:alice@example.test",
        100_000,
    )
    assert start(tracker) is None
    assert tracker.provisional(KEY, 100, 100.5) is None
    ringing = tracker.provisional(KEY, 180, 101)
    assert ringing is not None
    assert ringing.kind == CallChanged.KIND_RINGING
    assert tracker.provisional(KEY, 183, 101) is None
    answered = tracker.answered(KEY, 103)
    assert answered is not None
    assert answered.kind == CallChanged.KIND_ANSWERED
    assert tracker.answered(KEY, 103.5) is None
    ended = tracker.hung_up("abc@host", "from1", "to1", 110.25)
    assert ended is not None
    assert (ended.cause, ended.ended_by, ended.duration_ms, ended.status) == (
        "completed",
        "caller",
        7250,
        200,
    )
    assert len(tracker) == 0


def test_calls_with_a_phone_on_udp_are_known(tracker: CallTracker) -> None:
    told = []
    start(tracker)
    tracker.offered_over_udp(CallKey("another", "tag"))
    told.append(tracker.have_udp)
    tracker.offered_over_udp(KEY)
    told.append(tracker.have_udp)
    tracker.failed(KEY, 486, 101)
    told.append(tracker.have_udp)
    other = CallKey("def@host", "from2")
    tracker.started(other, from_aor="sip:a@example.test", to_aor="sip:b@example.test", now=102, over_udp=True)
    told.append(tracker.have_udp)
    assert told == [False, True, False, True]


def test_facts_name_both_sides_and_the_front_end() -> None:
    tracker = CallTracker("edge-7")
    started, ringing = start(tracker), tracker.provisional(KEY, 180, 101, "desk")
    answered, ended = tracker.answered(KEY, 103, "hall"), tracker.hung_up("abc@host", "hall", "from1", 104)
    told = [fact for fact in (started, ringing, answered, ended) if fact is not None]
    assert [(fact.from_tag, fact.to_tag, fact.edge_uid) for fact in told] == [
        ("from1", tag, "edge-7") for tag in ("", "desk", "hall", "hall")
    ]


def test_callee_hangs_up(tracker: CallTracker) -> None:
    start(tracker)
    tracker.answered(KEY, 103)
    ended = tracker.hung_up("abc@host", "to1", "from1", 104)
    assert ended is not None
    assert ended.ended_by == "callee"


@pytest.mark.parametrize(
    ("status", "cause", "by"),
    [
        (486, "busy", "callee"),
        (600, "busy", "callee"),
        (603, "declined", "callee"),
        (480, "no_answer", "server"),
        (408, "no_answer", "server"),
        (487, "cancelled", "caller"),
        (404, "failed", "server"),
        (500, "failed", "server"),
    ],
)
def test_failed_call(tracker: CallTracker, status: int, cause: str, by: str) -> None:
    start(tracker)
    ended = tracker.failed(KEY, status, 105)
    assert ended is not None
    assert (ended.kind, ended.cause, ended.ended_by, ended.status) == (
        CallChanged.KIND_ENDED,
        cause,
        by,
        status,
    )
    assert ended.duration_ms == 0
    assert tracker.failed(KEY, status, 105) is None


def test_bye_of_an_unknown_or_unanswered_call_is_no_fact(tracker: CallTracker) -> None:
    assert tracker.hung_up("abc@host", "from1", "to1", 100) is None
    start(tracker)
    assert tracker.hung_up("abc@host", "from1", "to1", 101) is None


def test_final_failure_after_an_answer_changes_nothing(tracker: CallTracker) -> None:
    start(tracker)
    tracker.answered(KEY, 101)
    assert tracker.failed(KEY, 487, 102) is None
    call = tracker.get(KEY)
    assert call is not None
    assert call.state == "answered"


def test_calls_with_the_same_call_id_are_told_apart_by_tag(tracker: CallTracker) -> None:
    start(tracker)
    other = CallKey("abc@host", "from2")
    assert tracker.started(other, from_aor="sip:c@x", to_aor="sip:d@x", now=1) is not None
    tracker.failed(KEY, 486, 2)
    assert tracker.get(other) is not None


def test_sweep_ends_what_is_too_old() -> None:
    tracker = CallTracker(max_seconds=60)
    start(tracker, now=0)
    tracker.answered(KEY, 10)
    assert tracker.sweep(59) == []
    (lost,) = tracker.sweep(61)
    assert (lost.cause, lost.ended_by, lost.duration_ms) == ("lost", "server", 51_000)


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"", True),
        (b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n", True),
        (b"v=0\r\nm=message 5060 sip null\r\nm=video 4002 RTP/AVP 34\r\n", True),
        (b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n--x--", True),
        (b"v=0\r\nm=message 5060 sip null\r\n", False),
        (b"v=0\r\nm=x-ms-message 5060 sip null\r\n", False),
        (b'<Conferencing version="2.0"><focus-uri>sip:a@b</focus-uri></Conferencing>', False),
    ],
)
def test_which_invitations_are_calls(body: bytes, media: bool) -> None:
    assert offers_media(body) is media


def setups(outcome: str) -> float:
    return REGISTRY.get_sample_value("parley_frontend_call_setups_total", {"outcome": outcome}) or 0.0


def set_up_within(seconds: str) -> float:
    return REGISTRY.get_sample_value("parley_frontend_call_setup_seconds_bucket", {"le": seconds}) or 0.0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(486, "unanswered"), (487, "unanswered"), (404, "unanswered"), (480, "unanswered"), (430, "failed"), (503, "failed")],
)
def test_a_set_up_fails_by_the_fault_of_servers_alone(tracker: CallTracker, status: int, outcome: str) -> None:
    before = setups(outcome)
    start(tracker)
    tracker.failed(KEY, status, 105)
    assert setups(outcome) == before + 1


def test_set_up_ends_once_and_its_time_is_that_of_the_first_ringing(tracker: CallTracker) -> None:
    before, within, longer = setups("answered"), set_up_within("0.25"), set_up_within("10.0")
    start(tracker, 100)
    tracker.provisional(KEY, 180, 100.2)
    tracker.answered(KEY, 108)
    tracker.hung_up("abc@host", "from1", "to1", 110)
    assert setups("answered") == before + 1
    assert (set_up_within("0.25"), set_up_within("10.0")) == (within + 1, longer + 1)


def test_set_up_without_ringing_takes_until_the_answer(tracker: CallTracker) -> None:
    within, longer = set_up_within("5.0"), set_up_within("10.0")
    start(tracker, 100)
    tracker.answered(KEY, 108)
    assert (set_up_within("5.0"), set_up_within("10.0")) == (within, longer + 1)


def test_a_call_that_is_lost_before_any_answer_is_a_set_up_that_failed() -> None:
    before, tracker = setups("failed"), CallTracker(max_seconds=60)
    start(tracker, 0)
    tracker.sweep(61)
    assert setups("failed") == before + 1
