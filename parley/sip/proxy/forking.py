"""Response contexts: one request sent to several targets, and its one answer (RFC 3261 16.6 to 16.10).

A context starts the targets of the highest q together, the next group when that one led to nothing, and so
on. It forwards provisional responses (not 100), every 2xx to an INVITE at once, and otherwise one best
response when all branches have ended.

Invariants, checked by a state machine in the tests:
- a request gets exactly one final non-2xx response, or at least one 2xx (for a non-INVITE exactly one), never
  both;
- every branch that was started ends, whatever its target does: by a response, by a failure, or by a deadline
  here;
- after ``Finished`` there are only answers that came too late: a repeated 2xx is forwarded again, a new one
  is abandoned, and a phone that only now starts to ring is cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from secrets import token_hex

from parley.sip.errors import SipError
from parley.sip.message import Request, Response, make_response
from parley.sip.proxy.bestresponse import finish_response, response_rank
from parley.sip.proxy.branch import (
    DEFAULT_FORK_SETTINGS,
    REASON_ELSEWHERE,
    REASON_TIMEOUT,
    Branch,
    ForkSettings,
)
from parley.sip.proxy.events import (
    AbandonedAnswer,
    CancelBranch,
    Finished,
    ForkingEvent,
    ForwardResponse,
    StartBranch,
)
from parley.sip.proxy.loops import max_breadth, share_breadth
from parley.sip.proxy.targets import Target


class ForkingError(SipError):
    """A forking context was used wrongly, as with a branch it never started."""


class ForkingContext:
    """One request on its way to its targets.

    ``groups`` are targets by falling preference, as ``group_targets`` makes them. Call ``start`` once, then
    feed it; after every input drain ``events`` and take note of ``deadline``. ``to_tag`` is for responses
    made here.
    """

    __slots__ = (
        "_best",
        "_branches",
        "_cancelled",
        "_events",
        "_final_status",
        "_finished",
        "_group_deadline",
        "_groups",
        "_invite",
        "_stopped",
        "_to_tag",
        "request",
        "settings",
    )

    def __init__(
        self,
        request: Request,
        groups: Iterable[Iterable[Target]],
        *,
        settings: ForkSettings = DEFAULT_FORK_SETTINGS,
        to_tag: str | None = None,
    ) -> None:
        self.request: Request = request
        self.settings: ForkSettings = settings
        self._groups: list[list[Target]] = [list(group) for group in groups]
        self._invite: bool = request.method == "INVITE"
        self._to_tag: str = to_tag if to_tag is not None else token_hex(8)
        self._branches: list[Branch] = []
        self._best: list[tuple[Response, bool, int | None]] = []  # finals so far: response, made here, branch
        self._events: list[ForkingEvent] = []
        self._group_deadline: float = inf
        self._stopped: bool = False  # no further branches
        self._cancelled: bool = False  # by the caller
        self._final_status: int = 0
        self._finished: bool = False

    # What the shell asks

    @property
    def finished(self) -> bool:
        """Whether ``Finished`` was told."""
        return self._finished

    @property
    def final_status(self) -> int | None:
        """The status of the final response forwarded, None before."""
        return self._final_status or None

    @property
    def pending(self) -> tuple[int, ...]:
        """The branches that have not ended."""
        return tuple(branch.id for branch in self._branches if not branch.ended)

    @property
    def deadline(self) -> float | None:
        """When ``handle_timer`` is due next (monotonic seconds), None when nothing is awaited."""
        if self._finished:
            return None
        at = self._group_deadline
        for branch in self._branches:
            if not branch.ended and branch.deadline < at:
                at = branch.deadline
        return None if at == inf else at

    def target(self, branch_id: int) -> Target:
        """The target of a branch. Raises ForkingError for an unknown one."""
        return self._branch(branch_id).target

    def events(self) -> list[ForkingEvent]:
        """Drain what is to be done, in order. Carrying it out may cause inputs and so further events."""
        events = self._events
        self._events = []
        return events

    # Inputs

    def start(self, now: float) -> None:
        """Start the first group; without any target the request is answered 480."""
        self._advance(now)

    def add_targets(self, targets: Iterable[Target]) -> bool:
        """Append a group to be tried after the others; False when the search is over and it will not be.

        To replace a branch that failed (a 430, and the registrar then knew another flow), add the new targets
        before that failure is fed in.
        """
        if self._stopped or self._finished:
            return False
        group = list(targets)
        if group:
            self._groups.append(group)
        return True

    def receive(self, branch_id: int, response: Response, now: float) -> None:
        """Feed a response of a branch. Raises ForkingError for an unknown branch."""
        branch = self._branch(branch_id)
        status = response.status
        if status < 200:
            self._provisional(branch, response, now)
        elif status < 300 and self._invite:
            self._answered(branch, response, now)
        elif not branch.closed:
            branch.closed = True
            if not branch.ended:
                if status == 487 and branch.timed_out:
                    self._branch_final(branch, self._own(408), True, now)
                else:
                    self._branch_final(branch, _upstream(response), False, now)

    def branch_failed(self, branch_id: int, status: int, now: float, reason: str | None = None) -> None:
        """Tell that a branch ended without a response of its target.

        ``status`` stands for it: 408 for a timeout, 503 for a transport error (RFC 3261 section 16.9), 430
        for a flow that is gone (RFC 5626), or what a lookup yielded. Raises ForkingError for an unknown
        branch.
        """
        branch = self._branch(branch_id)
        if branch.closed:
            return
        branch.closed = True
        if not branch.ended:
            self._branch_final(branch, self._own(status, reason), True, now)

    def cancel(self, now: float, reason: str | None = None) -> None:
        """The caller gave up (section 16.10): cancel all branches with its Reason, start no other."""
        if self._finished or self._final_status or self._cancelled:
            return
        self._cancelled = True
        self._stopped = True
        self._cancel_pending(reason, now)
        self._advance(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due: Timer C (section 16.8), the wait for a cancelled branch, the change to the next
        group.
        """
        if self._finished:
            return
        if now >= self._group_deadline:
            self._group_deadline = inf
            if self._groups and not self._stopped:
                for branch in self._branches:
                    self._time_out(branch, now)
        for branch in list(self._branches):
            if branch.ended or now < branch.deadline:
                continue
            if self._invite and branch.provisional and not branch.cancelling:
                self._time_out(branch, now)
            else:
                branch.cancel_reason = branch.cancel_reason if branch.cancelling else REASON_TIMEOUT
                self._branch_final(branch, self._own(408), True, now)
        self._advance(now)

    # Responses

    def _provisional(self, branch: Branch, response: Response, now: float) -> None:
        if branch.closed or branch.answers:
            return
        branch.provisional = True
        if branch.ended or branch.cancelling:
            if self._invite:
                self._send_cancel(branch, now)
            return
        if response.status == 100 or not self._invite:
            return
        branch.ringing = True
        branch.deadline = now + self.settings.timer_c
        if not self._final_status and not self._cancelled:
            self._events.append(ForwardResponse(_upstream(response), branch.id))

    def _answered(self, branch: Branch, response: Response, now: float) -> None:
        """A 2xx to INVITE: forwarded at once, whatever was forwarded before, unless nobody can use it any
        more.
        """
        tag = response.to_tag
        known = branch.answers.get(tag)
        if known is None:
            absorbed = self.settings.absorb_late_answers and branch.cancelling
            branch.answers[tag] = not (self._finished or absorbed)
        branch.closed = True
        if not branch.answers[tag]:
            self._events.append(AbandonedAnswer(branch.id, response, known is not None))
            if not branch.ended:
                self._branch_final(branch, self._own(487), True, now)
            return
        self._events.append(ForwardResponse(_upstream(response), branch.id))
        if known is not None:
            return
        branch.ended = True
        self._stopped = True
        if not self._final_status:
            self._final_status = response.status
        self._cancel_pending(REASON_ELSEWHERE, now)
        self._advance(now)

    def _branch_final(self, branch: Branch, response: Response, local: bool, now: float) -> None:
        """A branch ended with anything but a 2xx to INVITE."""
        branch.ended = True
        status = response.status
        if status < 300:  # of a non-INVITE: that is the answer, and nobody can stop the other branches
            self._stopped = True
            for other in self._branches:
                other.ended = True
            self._forward_final(response, branch.id)
            return
        self._best.append((response, local, None if local else branch.id))
        if status >= 600:
            self._stopped = True
            self._cancel_pending(f'SIP ;cause={status} ;text="{_quotable(response.reason)}"', now)
        elif not self._stopped and not branch.cancelling and _flow_failed(branch, status, local):
            self._try_alternative(branch, now)
        self._advance(now)

    def _own(self, status: int, reason: str | None = None) -> Response:
        return make_response(self.request, status, reason, to_tag=self._to_tag)

    # Progress

    def _advance(self, now: float) -> None:
        """Start the next group, or finish, when nothing stands in the way."""
        while not self._finished:
            if any(not branch.ended and not branch.cancelling for branch in self._branches):
                return
            if not self._stopped and self._groups:
                self._start_group(now)
                continue
            if any(not branch.ended for branch in self._branches):
                return
            if self._final_status:
                self._finish()
            else:
                self._forward_best()

    def _start_group(self, now: float) -> None:
        """Start the next group of targets; what exceeds the request's breadth comes later (RFC 5393)."""
        group = self._groups.pop(0)
        available = max_breadth(self.request)
        if not available:
            self._groups.clear()
            self._best.append((self._own(440), True, None))
            return
        if len(group) > available:
            self._groups.insert(0, group[available:])
            group = group[:available]
        for target, breadth in zip(group, share_breadth(available, len(group)), strict=True):
            self._start_branch(target, breadth, now)
        if self._invite and self.settings.group_wait is not None:
            self._group_deadline = now + self.settings.group_wait

    def _try_alternative(self, branch: Branch, now: float) -> None:
        """Go on with the next flow to the device whose flow failed, if there is one."""
        if branch.target.alternatives:
            first, *rest = branch.target.alternatives
            self._start_branch(_with_alternatives(first, tuple(rest)), branch.breadth, now)

    def _start_branch(self, target: Target, breadth: int, now: float) -> None:
        wait = self.settings.timer_c if self._invite else self.settings.answer_wait
        branch = Branch(len(self._branches), target, breadth, now + wait)
        self._branches.append(branch)
        self._events.append(StartBranch(branch.id, target, breadth))

    def _cancel_pending(self, reason: str | None, now: float) -> None:
        self._group_deadline = inf
        for branch in self._branches:
            self._cancel_branch(branch, reason, now)

    def _cancel_branch(self, branch: Branch, reason: str | None, now: float) -> None:
        """End a branch: at once when it has answered provisionally, else as soon as it does (section 9.1)."""
        if branch.ended or branch.cancelling or not self._invite:
            return
        branch.cancelling = True
        branch.cancel_reason = reason
        branch.deadline = now + self.settings.cancel_wait
        if branch.provisional:
            self._send_cancel(branch, now)

    def _time_out(self, branch: Branch, now: float) -> None:
        """Cancel a branch that nobody answered; its 487 will stand for a 408."""
        if not branch.ended and not branch.cancelling:
            branch.timed_out = True
            self._cancel_branch(branch, REASON_TIMEOUT, now)

    def _send_cancel(self, branch: Branch, now: float) -> None:
        if not branch.cancel_sent:
            branch.cancel_sent = True
            branch.deadline = now + self.settings.cancel_wait
            self._events.append(CancelBranch(branch.id, branch.cancel_reason))

    def _forward_best(self) -> None:
        """Answer with the best of what came (section 16.7 item 6)."""
        if not self._best:
            self._best.append((self._own(487 if self._cancelled else 480), True, None))
        response, _, branch_id = min(self._best, key=lambda final: response_rank(final[0].status, final[1]))
        if self._cancelled and response.status < 600 and response.status != 487:
            response, branch_id = self._own(487), None
        others = [other for other, _, _ in self._best]
        final = finish_response(self.request, response, others, self._to_tag)
        self._forward_final(final, branch_id)

    def _forward_final(self, response: Response, branch_id: int | None) -> None:
        self._final_status = response.status
        self._events.append(ForwardResponse(response, branch_id))
        self._finish()

    def _finish(self) -> None:
        self._finished = True
        self._stopped = True
        self._groups.clear()
        self._best.clear()
        self._events.append(Finished(self._final_status))

    def _branch(self, branch_id: int) -> Branch:
        if 0 <= branch_id < len(self._branches):
            return self._branches[branch_id]
        raise ForkingError(f"there is no branch {branch_id}")


def _upstream(response: Response) -> Response:
    """A response as the element before us gets it: without our Via (section 16.7 item 3)."""
    copy = response.copy()
    copy.remove_first_value("Via")
    return copy


def _flow_failed(branch: Branch, status: int, local: bool) -> bool:
    """Whether another flow to the device is worth trying (RFC 5626 section 5.3): it was never reached."""
    return status == 430 or (local and status in (408, 503) and not branch.ringing)


def _with_alternatives(target: Target, alternatives: tuple[Target, ...]) -> Target:
    if not alternatives:
        return target
    return Target(target.uri, target.q, target.route, target.flow, target.alternatives + alternatives)


def _quotable(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
