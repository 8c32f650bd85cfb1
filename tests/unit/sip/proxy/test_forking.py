"""Forking contexts: parallel and serial search, best response, CANCEL, Timer C, late answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from parley.sip.message import Request, Response, make_response
from parley.sip.proxy import (
    REASON_ELSEWHERE,
    REASON_TIMEOUT,
    AbandonedAnswer,
    CancelBranch,
    Finished,
    ForkingContext,
    ForkingError,
    ForkSettings,
    ForwardResponse,
    StartBranch,
    Target,
    group_targets,
)

UPSTREAM_VIA = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKup"


def make_request(method: str = "INVITE", extra: tuple[tuple[str, str], ...] = ()) -> Request:
    return Request.create(
        method,
        "sip:bob@example.test",
        headers=[
            ("Via", UPSTREAM_VIA),
            ("Max-Forwards", "70"),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", "<sip:bob@example.test>"),
            ("Call-ID", "call-1"),
            ("CSeq", f"1 {method}"),
            *extra,
            ("Content-Length", "0"),
        ],
    )


class Fork:
    """A context under test, with what it has done so far."""

    def __init__(
        self,
        *groups: int | list[Target],
        method: str = "INVITE",
        start: bool = True,
        extra: tuple[tuple[str, str], ...] = (),
        **settings: Any,
    ) -> None:
        number = 0
        made = []
        for group in groups:
            if isinstance(group, int):
                made.append([Target(f"sip:phone{number + index}@192.0.2.{number + index}") for index in range(group)])
                number += group
            else:
                made.append(group)
        self.request = make_request(method, extra)
        self.context = ForkingContext(self.request, made, settings=ForkSettings(**settings), to_tag="proxytag")
        if start:
            self.context.start(100.0)

    def events(self) -> list[Any]:
        return self.context.events()

    def response(
        self, branch: int, status: int, *, tag: str | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> Response:
        sent = self.request.copy()
        sent.prepend("Via", f"SIP/2.0/TCP proxy.example.test;branch=z9hG4bKbranch{branch}")
        return make_response(sent, status, to_tag=tag or f"phone{branch}", headers=headers)

    def receive(self, branch: int, status: int, now: float = 101.0, **kwargs: Any) -> list[Any]:
        """Feed a response and drain what it leads to."""
        self.context.receive(branch, self.response(branch, status, **kwargs), now)
        return self.context.events()

    def fail(self, branch: int, status: int, now: float = 101.0) -> list[Any]:
        self.context.branch_failed(branch, status, now)
        return self.context.events()

    def cancel(self, now: float = 101.0, reason: str | None = None) -> list[Any]:
        self.context.cancel(now, reason)
        return self.context.events()

    def timer(self, now: float) -> list[Any]:
        self.context.handle_timer(now)
        return self.context.events()


def brief(events: list[Any]) -> list[tuple[str, int]]:
    """Events in short: numbers for started branches, statuses for forwarded responses."""
    short: list[tuple[str, int]] = []
    for event in events:
        match event:
            case StartBranch(branch_id):
                short.append(("start", branch_id))
            case CancelBranch(branch_id):
                short.append(("cancel", branch_id))
            case ForwardResponse(response):
                short.append(("forward", response.status))
            case AbandonedAnswer(branch_id):
                short.append(("abandon", branch_id))
            case Finished(status):
                short.append(("finished", status))
    return short


def forwarded(events: list[Any]) -> list[Response]:
    return [event.response for event in events if isinstance(event, ForwardResponse)]


# Search


def test_targets_are_grouped_by_q_without_repetitions() -> None:
    targets = [Target("sip:a", 0.5), Target("sip:b", 1.0), Target("sip:c", 0.5), Target("sip:b", 0.5)]
    assert [[target.uri for target in group] for group in group_targets(targets)] == [
        ["sip:b"],
        ["sip:a", "sip:c"],
    ]


def test_no_target_is_temporarily_unavailable() -> None:
    fork = Fork()
    assert brief(fork.events()) == [("forward", 480), ("finished", 480)]
    assert fork.context.finished
    assert fork.context.final_status == 480
    assert fork.context.deadline is None


def test_a_group_is_started_together() -> None:
    fork = Fork(3)
    events = fork.events()
    assert brief(events) == [("start", 0), ("start", 1), ("start", 2)]
    assert events[1].target.uri == "sip:phone1@192.0.2.1"
    assert fork.context.target(1) is events[1].target
    assert fork.context.pending == (0, 1, 2)


def test_next_group_follows_when_the_first_led_nowhere() -> None:
    fork = Fork(2, 1)
    fork.events()
    assert fork.receive(0, 404) == []
    assert brief(fork.receive(1, 486)) == [("start", 2)]
    assert brief(fork.receive(2, 200)) == [("forward", 200), ("finished", 200)]


def test_targets_can_be_added_while_searching() -> None:
    fork = Fork(1)
    fork.events()
    assert fork.context.add_targets([Target("sip:other@192.0.2.99")])
    assert fork.context.add_targets([])
    assert brief(fork.receive(0, 430)) == [("start", 1)]
    fork.receive(1, 200)
    assert not fork.context.add_targets([Target("sip:late@192.0.2.99")])


def test_unknown_branch_is_an_error() -> None:
    fork = Fork(1)
    with pytest.raises(ForkingError, match="there is no branch 7"):
        fork.fail(7, 408)
    with pytest.raises(ForkingError, match="there is no branch -1"):
        fork.context.target(-1)


def test_alternative_flow_is_tried_when_the_first_is_gone() -> None:
    second = Target("sip:bob@192.0.2.2", flow="flow-2")
    third = Target("sip:bob@192.0.2.3", flow="flow-3")
    fork = Fork([Target("sip:bob@192.0.2.1", flow="flow-1", alternatives=(second, third))], 1)
    fork.events()
    [event] = fork.receive(0, 430)
    assert event.target.flow == "flow-2"
    [event] = fork.fail(1, 503)
    assert event.target.flow == "flow-3"
    assert brief(fork.fail(2, 408)) == [("start", 3)]


@pytest.mark.parametrize("status", [486, 408, 503])
def test_alternative_flow_is_not_tried_when_the_device_answered(status: int) -> None:
    fork = Fork([Target("sip:bob@192.0.2.1", alternatives=(Target("sip:bob@192.0.2.2"),))])
    fork.events()
    assert brief(fork.receive(0, status))[-1][0] == "finished"


def test_alternative_flow_is_not_tried_when_the_phone_has_rung() -> None:
    fork = Fork([Target("sip:bob@192.0.2.1", alternatives=(Target("sip:bob@192.0.2.2"),))])
    fork.receive(0, 180)
    assert brief(fork.fail(0, 408)) == [("forward", 408), ("finished", 408)]


def test_breadth_is_shared_and_the_rest_waits() -> None:
    fork = Fork(3, extra=(("Max-Breadth", "2"),))
    events = fork.events()
    assert [(event.branch_id, event.max_breadth) for event in events] == [(0, 1), (1, 1)]
    fork.receive(0, 404)
    assert brief(fork.receive(1, 404)) == [("start", 2)]


def test_no_breadth_left_is_440() -> None:
    fork = Fork(1, extra=(("Max-Breadth", "0"),))
    assert brief(fork.events()) == [("forward", 440), ("finished", 440)]


# Responses


def test_provisional_is_forwarded_without_our_via() -> None:
    fork = Fork(2)
    fork.events()
    [event] = fork.receive(1, 183)
    assert event.branch_id == 1
    assert event.response.get_all("Via") == [UPSTREAM_VIA]
    assert event.response.to_tag == "phone1"


def test_100_stays_here() -> None:
    fork = Fork(1)
    fork.events()
    assert fork.receive(0, 100) == []


def test_non_invite_provisional_stays_here() -> None:
    fork = Fork(1, method="MESSAGE")
    fork.events()
    assert fork.receive(0, 180) == []


def test_received_response_is_not_changed() -> None:
    fork = Fork(1)
    response = fork.response(0, 200)
    before = bytes(response)
    fork.context.receive(0, response, 101.0)
    assert bytes(response) == before


def test_2xx_cancels_the_losers_with_a_reason() -> None:
    fork = Fork(3)
    fork.events()
    fork.receive(1, 180)
    fork.receive(2, 100)
    events = fork.receive(0, 200)
    assert brief(events) == [("forward", 200), ("cancel", 1), ("cancel", 2)]
    assert {event.reason for event in events[1:]} == {REASON_ELSEWHERE}
    assert fork.receive(1, 487) == []
    assert brief(fork.receive(2, 487)) == [("finished", 200)]


def test_cancel_waits_for_a_provisional() -> None:
    fork = Fork(2)
    fork.events()
    assert brief(fork.receive(0, 200)) == [("forward", 200)]
    assert brief(fork.receive(1, 180, 105.0)) == [("cancel", 1)]
    assert fork.receive(1, 180, 106.0) == []
    assert brief(fork.receive(1, 487, 107.0)) == [("finished", 200)]


def test_every_2xx_is_forwarded() -> None:
    fork = Fork(2)
    fork.events()
    assert brief(fork.receive(0, 200)) == [("forward", 200)]
    assert brief(fork.receive(1, 200)) == [("forward", 200), ("finished", 200)]


def test_second_2xx_of_one_branch_is_forwarded() -> None:
    fork = Fork(2)
    fork.events()
    fork.receive(0, 200, tag="x")
    assert brief(fork.receive(0, 200, tag="y")) == [("forward", 200)]


def test_repeated_2xx_is_forwarded_again_even_after_the_end() -> None:
    fork = Fork(1)
    fork.events()
    assert brief(fork.receive(0, 200)) == [("forward", 200), ("finished", 200)]
    assert brief(fork.receive(0, 200, 102.0)) == [("forward", 200)]


def test_failures_after_a_2xx_are_dropped() -> None:
    fork = Fork(2)
    fork.events()
    fork.receive(0, 200)
    assert brief(fork.receive(1, 603)) == [("finished", 200)]


def test_provisional_after_a_final_is_dropped() -> None:
    fork = Fork(2)
    fork.events()
    fork.receive(0, 200)
    assert fork.receive(0, 180) == []


def test_new_2xx_after_the_end_is_abandoned() -> None:
    fork = Fork(1)
    fork.events()
    fork.receive(0, 486)
    late = fork.response(0, 200)
    fork.context.receive(0, late, 102.0)
    fork.context.receive(0, late, 103.0)
    assert fork.events() == [AbandonedAnswer(0, late, False), AbandonedAnswer(0, late, True)]


def test_non_invite_is_answered_by_the_first_2xx_alone() -> None:
    fork = Fork(2, method="MESSAGE")
    fork.events()
    assert brief(fork.receive(0, 202)) == [("forward", 202), ("finished", 202)]
    assert fork.receive(1, 200) == []
    assert fork.fail(1, 408) == []
    assert fork.context.pending == ()


def test_6xx_ends_the_search_but_waits_for_the_others() -> None:
    fork = Fork(2, 1)
    fork.events()
    fork.receive(1, 180)
    events = fork.receive(0, 603)
    assert events == [CancelBranch(1, 'SIP ;cause=603 ;text="Decline"')]
    assert brief(fork.receive(1, 487)) == [("forward", 603), ("finished", 603)]


def test_2xx_wins_over_6xx() -> None:
    fork = Fork(2)
    fork.events()
    fork.receive(0, 603)
    assert brief(fork.receive(1, 200)) == [("forward", 200), ("finished", 200)]


@pytest.mark.parametrize(
    ("statuses", "best"),
    [
        ((404, 302), 302),
        ((503, 486), 486),
        ((500, 404), 404),
        ((404, 401), 401),
        ((486, 407), 407),
        ((486, 415), 415),
        ((486, 420), 420),
        ((404, 484), 484),
        ((480, 486), 486),
        ((408, 404), 404),
        ((430, 408), 408),
        ((487, 480), 480),
        ((401, 600), 600),
        ((503, 503), 500),
        ((503, 500), 500),
        ((430, 430), 480),
    ],
)
def test_best_response(statuses: tuple[int, int], best: int) -> None:
    for order in (statuses, statuses[::-1]):
        fork = Fork(2)
        fork.events()
        events = fork.receive(0, order[0]) + fork.receive(1, order[1])
        assert [item for item in brief(events) if item[0] != "cancel"] == [
            ("forward", best),
            ("finished", best),
        ]


def test_received_response_is_preferred_to_one_made_here() -> None:
    fork = Fork(2)
    fork.events()
    fork.fail(0, 408)
    [response] = forwarded(fork.receive(1, 408))
    assert response.to_tag == "phone1"


def test_challenges_are_aggregated() -> None:
    fork = Fork(3)
    fork.events()
    fork.receive(0, 407, headers=(("Proxy-Authenticate", 'Digest realm="one", nonce="1"'),))
    fork.receive(1, 401, headers=(("WWW-Authenticate", 'Digest realm="two", nonce="2"'),))
    events = fork.receive(2, 407, headers=(("Proxy-Authenticate", 'Digest realm="three", nonce="3"'),))
    [response] = forwarded(events)
    assert response.status == 407
    assert response.get_all("Proxy-Authenticate") == [
        'Digest realm="one", nonce="1"',
        'Digest realm="three", nonce="3"',
    ]
    assert response.get_all("WWW-Authenticate") == ['Digest realm="two", nonce="2"']


def test_local_response_goes_to_the_caller_with_our_tag() -> None:
    fork = Fork(1)
    fork.events()
    [response] = forwarded(fork.fail(0, 408))
    assert response.get_all("Via") == [UPSTREAM_VIA]
    assert response.to_tag == "proxytag"


@pytest.mark.parametrize(("status", "seen"), [(408, 408), (503, 500), (430, 480)])
def test_failed_branch_stands_for_a_response(status: int, seen: int) -> None:
    fork = Fork(1)
    fork.events()
    assert brief(fork.fail(0, status)) == [("forward", seen), ("finished", seen)]
    assert fork.fail(0, status) == []


# CANCEL by the caller


def test_caller_cancel_ends_all_branches_and_is_answered_487() -> None:
    fork = Fork(2, 1)
    fork.events()
    fork.receive(0, 180)
    fork.receive(1, 180)
    events = fork.cancel(reason="SIP;cause=600")
    assert events == [CancelBranch(0, "SIP;cause=600"), CancelBranch(1, "SIP;cause=600")]
    assert fork.cancel() == []
    assert fork.receive(0, 487) == []
    events = fork.receive(1, 487)
    assert brief(events) == [("forward", 487), ("finished", 487)]
    assert forwarded(events)[0].to_tag == "phone0"


def test_caller_cancel_beats_failures() -> None:
    fork = Fork(2)
    fork.events()
    fork.receive(0, 486)
    fork.receive(1, 100)
    fork.cancel()
    assert brief(fork.fail(1, 408)) == [("forward", 487), ("finished", 487)]


def test_caller_cancel_does_not_hide_a_6xx() -> None:
    fork = Fork(1)
    fork.events()
    fork.receive(0, 180)
    fork.cancel()
    assert brief(fork.receive(0, 603)) == [("forward", 603), ("finished", 603)]


def test_2xx_that_crosses_the_cancel_is_forwarded() -> None:
    fork = Fork(1)
    fork.events()
    fork.receive(0, 180)
    fork.cancel()
    assert brief(fork.receive(0, 200)) == [("forward", 200), ("finished", 200)]


def test_cancel_before_the_start_is_answered_at_once() -> None:
    fork = Fork(1, start=False)
    assert brief(fork.cancel(100.0)) == [("forward", 487), ("finished", 487)]
    fork.context.start(100.1)
    assert fork.events() == []


def test_cancel_after_the_answer_changes_nothing() -> None:
    fork = Fork(2)
    fork.events()
    fork.receive(0, 200)
    assert fork.cancel() == []


def test_provisional_after_the_cancel_is_not_forwarded() -> None:
    fork = Fork(1)
    fork.events()
    fork.cancel()
    assert brief(fork.receive(0, 180)) == [("cancel", 0)]
    assert fork.receive(0, 183) == []


def test_branch_that_ignores_the_cancel_is_given_up() -> None:
    fork = Fork(1)
    fork.events()
    fork.receive(0, 180)
    fork.cancel(110.0)
    assert fork.context.deadline == 143.0
    assert brief(fork.timer(143.0)) == [("forward", 487), ("finished", 487)]
    assert brief(fork.receive(0, 200, 150.0)) == [("abandon", 0)]


def test_phone_that_rings_after_it_was_given_up_is_cancelled() -> None:
    fork = Fork(1)
    fork.events()
    fork.cancel(110.0)
    fork.timer(143.0)
    assert brief(fork.receive(0, 180, 150.0)) == [("cancel", 0)]
    assert fork.receive(0, 180, 151.0) == []


def test_late_answer_is_absorbed_when_so_configured() -> None:
    fork = Fork(2, absorb_late_answers=True)
    fork.events()
    fork.receive(0, 180)
    fork.receive(1, 180)
    assert brief(fork.receive(0, 200)) == [("forward", 200), ("cancel", 1)]
    assert brief(fork.receive(1, 200)) == [("abandon", 1), ("finished", 200)]


def test_answer_to_a_cancelled_call_is_absorbed_when_so_configured() -> None:
    fork = Fork(1, absorb_late_answers=True)
    fork.events()
    fork.receive(0, 180)
    fork.cancel()
    assert brief(fork.receive(0, 200)) == [("abandon", 0), ("forward", 487), ("finished", 487)]
    assert brief(fork.receive(0, 200)) == [("abandon", 0)]


# Timers


def test_timer_c_cancels_a_ringing_branch_and_its_487_counts_as_408() -> None:
    fork = Fork(1, 1)
    fork.events()
    fork.receive(0, 180, 150.0)
    assert fork.context.deadline == 335.0
    assert fork.timer(335.0) == [CancelBranch(0, REASON_TIMEOUT), StartBranch(1, fork.context.target(1), 60)]
    assert fork.receive(0, 487, 336.0) == []
    assert brief(fork.receive(1, 404, 337.0)) == [("forward", 404), ("finished", 404)]


def test_timer_c_is_reset_by_101_to_199_only() -> None:
    fork = Fork(1)
    fork.events()
    fork.receive(0, 100, 150.0)
    assert fork.context.deadline == 285.0
    fork.receive(0, 183, 160.0)
    assert fork.context.deadline == 345.0


def test_timer_c_without_provisional_is_408() -> None:
    fork = Fork(1)
    fork.events()
    assert brief(fork.timer(285.0)) == [("forward", 408), ("finished", 408)]


def test_non_invite_branch_is_not_awaited_for_ever() -> None:
    fork = Fork(1, method="MESSAGE")
    fork.events()
    assert fork.context.deadline == 140.0
    assert fork.timer(139.0) == []
    assert brief(fork.timer(140.0)) == [("forward", 408), ("finished", 408)]


def test_group_wait_moves_on_and_a_late_answer_still_counts() -> None:
    fork = Fork(1, 1, group_wait=20.0)
    fork.events()
    fork.receive(0, 180)
    assert fork.context.deadline == 120.0
    assert brief(fork.timer(120.0)) == [("cancel", 0), ("start", 1)]
    assert brief(fork.receive(0, 200, 120.1)) == [("forward", 200)]
    assert brief(fork.receive(1, 180, 120.2)) == [("cancel", 1)]
    assert brief(fork.receive(1, 487, 120.3)) == [("finished", 200)]


def test_group_wait_does_not_cut_the_last_group() -> None:
    fork = Fork(1, group_wait=20.0)
    fork.events()
    fork.receive(0, 180)
    assert fork.timer(120.0) == []
    assert fork.context.pending == (0,)


def test_timer_after_the_end_does_nothing() -> None:
    fork = Fork(1)
    fork.events()
    fork.receive(0, 486)
    fork.events()
    assert fork.timer(1000.0) == []
