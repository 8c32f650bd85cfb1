"""Whatever targets, callers and clocks do, a forking context answers as it must and all branches end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parley.sip.message import Request, make_response
from parley.sip.proxy import (
    AbandonedAnswer,
    CancelBranch,
    Finished,
    ForkingContext,
    ForkSettings,
    ForwardResponse,
    StartBranch,
    Target,
)

FINALS = st.sampled_from([200, 202, 301, 401, 404, 407, 408, 430, 480, 486, 487, 500, 503, 600, 603])


class ForkingMachine(RuleBasedStateMachine):
    """Plays caller, targets and clock against one context."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.final_responses: list[int] = []
        self.finished = 0

    @initialize(
        method=st.sampled_from(["INVITE", "INVITE", "MESSAGE"]),
        sizes=st.lists(st.integers(1, 3), max_size=3),
        alternatives=st.integers(0, 2),
        absorb=st.booleans(),
        group_wait=st.sampled_from([None, 20.0]),
    )
    def begin(self, method: str, sizes: list[int], alternatives: int, absorb: bool, group_wait: float | None) -> None:
        self.invite = method == "INVITE"
        self.request = Request.create(
            method,
            "sip:bob@example.test",
            headers=[
                ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKup"),
                ("From", "<sip:alice@example.test>;tag=a1"),
                ("To", "<sip:bob@example.test>"),
                ("Call-ID", "call-1"),
                ("CSeq", f"1 {method}"),
            ],
        )
        others = tuple(Target(f"sip:flow{index}@192.0.2.7") for index in range(alternatives))
        groups = [
            [Target(f"sip:p{group}{index}@192.0.2.9", alternatives=others) for index in range(size)]
            for group, size in enumerate(sizes)
        ]
        self.context = ForkingContext(
            self.request, groups, settings=ForkSettings(absorb_late_answers=absorb, group_wait=group_wait)
        )
        self.context.start(self.now)
        self.drain()

    def drain(self) -> None:
        for event in self.context.events():
            match event:
                case StartBranch(branch_id):
                    assert not self.finished
                    assert branch_id not in self.started
                    self.started.append(branch_id)
                case CancelBranch(branch_id):
                    assert self.invite
                    assert branch_id in self.started
                    assert branch_id not in self.cancelled
                    self.cancelled.append(branch_id)
                case ForwardResponse(response):
                    assert response.status != 100
                    assert len(response.get_all("Via")) == 1
                    if response.status >= 200:
                        assert not self.finished or (self.invite and response.status < 300)
                        self.final_responses.append(response.status)
                    else:
                        assert not self.final_responses
                case AbandonedAnswer(_, response):
                    assert 200 <= response.status < 300
                    assert len(response.get_all("Via")) == 2
                case Finished(status):
                    assert not self.finished
                    assert status == self.final_responses[0]
                    self.finished += 1

    def from_phone(self, branch: int, status: int, tag: str) -> None:
        sent = self.request.copy()
        sent.prepend("Via", "SIP/2.0/TCP proxy.example.test;branch=z9hG4bKb")
        self.context.receive(branch, make_response(sent, status, to_tag=tag), self.now)
        self.drain()

    @precondition(lambda self: self.started)
    @rule(data=st.data(), status=st.sampled_from([100, 180, 183]))
    def provisional(self, data: st.DataObject, status: int) -> None:
        self.from_phone(data.draw(st.sampled_from(self.started)), status, "p")

    @precondition(lambda self: self.started)
    @rule(data=st.data(), status=FINALS, tag=st.sampled_from(["x", "y"]))
    def final(self, data: st.DataObject, status: int, tag: str) -> None:
        self.from_phone(data.draw(st.sampled_from(self.started)), status, tag)

    @precondition(lambda self: self.started)
    @rule(data=st.data(), status=st.sampled_from([408, 430, 503]))
    def failure(self, data: st.DataObject, status: int) -> None:
        self.context.branch_failed(data.draw(st.sampled_from(self.started)), status, self.now)
        self.drain()

    @rule()
    def caller_cancels(self) -> None:
        if self.invite:
            self.context.cancel(self.now)
            self.drain()

    @rule()
    def add_target(self) -> None:
        if len(self.started) < 20:
            self.context.add_targets([Target("sip:added@192.0.2.8")])
            self.drain()

    @rule(seconds=st.sampled_from([0.1, 5.0, 34.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.context.handle_timer(self.now)
        self.drain()

    @invariant()
    def answered_as_it_must(self) -> None:
        failures = [status for status in self.final_responses if status >= 300]
        answers = len(self.final_responses) - len(failures)
        assert len(failures) <= 1
        assert not (failures and answers)
        if not getattr(self, "invite", True):
            assert answers <= 1

    @invariant()
    def finished_means_all_ended(self) -> None:
        if self.finished:
            assert self.context.pending == ()
            assert self.context.deadline is None
            assert self.final_responses

    @invariant()
    def unfinished_means_something_is_awaited(self) -> None:
        if self.started and not self.finished:
            assert self.context.pending
            assert self.context.deadline is not None

    def teardown(self) -> None:
        """Left alone, every context ends by its own deadlines."""
        if not hasattr(self, "context"):
            return
        for _ in range(500):
            deadline = self.context.deadline
            if deadline is None:
                break
            self.now = max(self.now, deadline)
            self.context.handle_timer(self.now)
            self.drain()
        assert self.finished == 1
        assert self.context.pending == ()
        assert self.final_responses


TestForking = ForkingMachine.TestCase
TestForking.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
