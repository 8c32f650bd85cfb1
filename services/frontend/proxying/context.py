"""One request that is being proxied: its server transaction, its forking context, and the branches of both.

`ProxiedRequest` carries out what the forking context decides. What differs between requests outside and inside a dialog
(where branches go, what is recorded, who wants to know of responses) comes in as a `Plan`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from parley.platform.rpc.errors import RpcError, sip_status
from parley.platform.telemetry.tracing import Span
from parley.sip.errors import SipError
from parley.sip.message import Request, Response, make_response
from parley.sip.proxy.abandon import make_ack, make_bye
from parley.sip.proxy.branch import ForkSettings
from parley.sip.proxy.errors import ProxyError
from parley.sip.proxy.events import (
    AbandonedAnswer,
    CancelBranch,
    Finished,
    ForwardResponse,
    StartBranch,
)
from parley.sip.proxy.forking import ForkingContext
from parley.sip.proxy.targets import Target
from parley.sip.transaction import (
    AckReceived,
    Cancelled,
    InviteServerTransaction,
    SendMessage,
    ServerTransaction,
    Transaction,
    TransactionEvent,
)
from services.frontend.answers import answered
from services.frontend.flows import Flow
from services.frontend.proxying.branches import Branch
from services.frontend.proxying.driver import Driver

logger = logging.getLogger(__name__)


STOPPING: Final = (503, "Front End Is Stopping", (("Retry-After", "1"),))
"""Status, reason and headers of the answer to who would wait for longer than this front end is there."""


class BranchOpener(Protocol):
    """Sends a copy of a request to a target."""

    def open_branch(self, proxied: ProxiedRequest, target: Target, breadth: int, branch_id: int) -> Branch:
        """Prepares and sends; raises ProxyError or SipParseError when the copy cannot be made."""

    def new_via(self, branch: Branch) -> str:
        """The value of a Via with a new branch, for a request that goes the way of ``branch``."""


@dataclass(slots=True)
class Plan:
    """What is particular to a request."""

    opener: BranchOpener
    record_route: bool = False
    inbound_route: str = ""
    """Our Record-Route URI for the side the request came from."""
    on_forwarded: Callable[[Response], None] | None = None
    """Told of every response that goes back."""
    more_targets: Callable[[ProxiedRequest, Target, int], bool] | None = None
    """Asked before a branch is given up that ended with a status of ``retried``: True when it will call ``flow_failed``."""
    retried: frozenset[int] = frozenset({430})
    """430: the flow is gone. Towards other domains also 503 and 408 (RFC 3263 section 4.3)."""
    on_finished: Callable[[], None] | None = None


class ProxiedRequest:
    """Owner of a server transaction; user of its branches."""

    def __init__(
        self, transaction: ServerTransaction, flow: Flow, driver: Driver, span: Span, settings: ForkSettings
    ) -> None:
        self.transaction = transaction
        self.request: Request = transaction.request
        self.flow = flow
        self.span = span
        self.plan: Plan | None = None
        self._settings = settings
        self.on_cancelled: Callable[[Request], None] | None = None
        """Told of a CANCEL in place of the forking context, when an application has the request."""
        self.on_refused: Callable[[Response], bool] | None = None
        """Asked once before a refusal goes back: True when another answer will follow."""
        self._driver = driver
        self._context: ForkingContext | None = None
        self._branches: dict[int, Branch] = {}
        self._ids: dict[int, int] = {}
        self._failed_at_once: dict[int, int] = {}
        self._running = False
        self._was_cancelled = False
        self._answered = False

    # Server side

    def respond(self, response: Response) -> None:
        """Sends a response to where the request came from; one refusal, not another after it."""
        if self._answered and response.status >= 300:
            return
        if response.status >= 300 and self.on_refused is not None and not self._was_cancelled:
            ask, self.on_refused = self.on_refused, None
            if ask(response):
                return
        if response.status >= 200 and not self._answered:
            self._answered = True
            answered(self.request.method, response.status)
            self.span.set("sip.status_code", response.status)
            if response.status >= 500:
                self.span.end("error")
            else:
                self.span.end()
        if self.plan is not None and self.plan.on_forwarded is not None:
            self.plan.on_forwarded(response)
        self.transaction.send_response(response, self._driver.now())
        self._driver.pump(self.transaction)

    def refuse(self, status: int, reason: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Answers without forwarding."""
        if not self._answered:
            self.respond(make_response(self.request, status, reason, to_tag=self.flow.new_tag(), headers=headers))

    def refuse_for(self, error: RpcError) -> None:
        """Answers for a service that failed."""
        status, retry_after = sip_status(error.code)
        self.refuse(status, None, (("Retry-After", str(retry_after)),) if retry_after else ())

    def give_up(self) -> None:
        """This front end stops: who waits is told so, and phones that ring for it are."""
        was_cancelled, self._was_cancelled = self._was_cancelled, True
        self.refuse(*STOPPING)
        if self._context is not None and not was_cancelled:
            self._context.cancel(self._driver.now(), 'SIP ;cause=503 ;text="Front End Is Stopping"')
            self._run()

    def hangs_on(self, branch_id: int) -> bool:
        """Whether an answer can come of that branch alone, and no application has a use for its refusal."""
        return self._context is not None and self._context.pending == (branch_id,) and self.on_refused is None

    @property
    def answered(self) -> bool:
        """Whether a final response went back."""
        return self._answered

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for an answer of another target any more."""
        return self._answered or self._was_cancelled

    def on_event(self, transaction: Transaction, event: TransactionEvent) -> None:
        """Carries out what the server transaction says."""
        if isinstance(event, SendMessage):
            if not self.flow.send(bytes(event.message)):
                logger.debug("the flow of the caller is gone")
        elif isinstance(event, Cancelled):
            self._was_cancelled = True
            reason = event.request.get("Reason")
            self.span.event("cancel", {"reason": reason or ""})
            if self.on_cancelled is not None:
                self.on_cancelled(event.request)
            elif self._context is None:
                self.refuse(487)
            else:
                self._context.cancel(self._driver.now(), reason)
                self._run()
        elif isinstance(event, AckReceived) and event.end_to_end:
            logger.debug("ACK of a 2xx came on the INVITE's branch")

    # Client side

    def fork(self, groups: list[list[Target]]) -> None:
        """Sends the request to its targets; not more than once."""
        if self._was_cancelled or self._answered:
            return
        self._context = ForkingContext(self.request, groups, settings=self._settings, to_tag=self.flow.new_tag())
        self._context.start(self._driver.now())
        self._driver.watch(self)
        self._run()

    @property
    def deadline(self) -> float | None:
        """That of the forking context (monotonic seconds)."""
        return self._context.deadline if self._context is not None else None

    def on_deadline(self, now: float) -> None:
        """Timer C, or the wait for a branch, is over."""
        if self._context is not None:
            self._context.handle_timer(now)
            self._run()

    def on_response(self, branch: Branch, response: Response) -> None:
        """A branch was answered."""
        if self._context is not None:
            if response.status == 503 and self._tries_again(self._ids[id(branch)], 503):
                return
            self._context.receive(self._ids[id(branch)], response, self._driver.now())
            self._run()

    def on_failure(self, branch: Branch, status: int) -> None:
        """A branch ended without an answer."""
        branch_id = self._ids.get(id(branch))
        if branch_id is None:  # it failed while it was being opened
            self._failed_at_once[id(branch)] = status
            return
        self._branch_failed(branch_id, status)

    def on_cancel(self, reason: str | None) -> None:
        """A CANCEL was sent on a branch; it is noted in the span of that branch."""

    def on_over(self, branch: Branch) -> None:
        """A branch is over; what it had to say was said before."""

    def _branch_failed(self, branch_id: int, status: int) -> None:
        if self._context is not None and not self._tries_again(branch_id, status):
            self.flow_failed(branch_id, [], status)

    def _tries_again(self, branch_id: int, status: int) -> bool:
        """Whether another target is being looked for in place of a branch."""
        plan, context = self.plan, self._context
        if context is None or plan is None or plan.more_targets is None or status not in plan.retried:
            return False
        return plan.more_targets(self, context.target(branch_id), branch_id)

    def flow_failed(self, branch_id: int, others: list[Target], status: int = 430) -> None:
        """Gives a branch up whose flow is gone; ``others`` are tried instead."""
        if self._context is not None:
            if others:
                self._context.add_targets(others)
            self._context.branch_failed(branch_id, status, self._driver.now())
            self._run()

    def _run(self) -> None:
        """Carries out what the forking context wants; what that causes is carried out in the same loop."""
        context = self._context
        assert context is not None
        if self._running:
            return
        self._running = True
        try:
            events = context.events()
            while events:
                for event in events:
                    self._carry_out(context, event)
                events = context.events()
        finally:
            self._running = False
        if context.finished and not context.pending:
            self._driver.forget(self)
        else:
            self._driver.watch(self)

    def _carry_out(self, context: ForkingContext, event: object) -> None:
        if isinstance(event, StartBranch):
            self._start_branch(context, event)
        elif isinstance(event, ForwardResponse):
            self.respond(event.response)
        elif isinstance(event, CancelBranch):
            branch = self._branches.get(event.branch_id)
            if branch is not None:
                branch.cancel(event.reason)
        elif isinstance(event, AbandonedAnswer):
            self._abandon(event)
        elif isinstance(event, Finished) and self.plan is not None and self.plan.on_finished is not None:
            self.plan.on_finished()

    def _start_branch(self, context: ForkingContext, event: StartBranch) -> None:
        plan = self.plan
        assert plan is not None
        try:
            branch = plan.opener.open_branch(self, event.target, event.max_breadth, event.branch_id)
        except ProxyError as error:
            context.branch_failed(event.branch_id, error.status, self._driver.now(), error.reason)
            return
        except SipError as error:
            logger.info("no copy could be made for a target: %s", error)
            context.branch_failed(event.branch_id, 500, self._driver.now())
            return
        self._branches[event.branch_id] = branch
        self._ids[id(branch)] = event.branch_id
        status = self._failed_at_once.pop(id(branch), None)
        if status is not None:
            self._branch_failed(event.branch_id, status)

    def _abandon(self, event: AbandonedAnswer) -> None:
        """A phone answered a call that is over: acknowledge, and hang up."""
        branch = self._branches.get(event.branch_id)
        plan = self.plan
        if branch is None or plan is None:
            return
        try:
            branch.send_raw(make_ack(branch.request, event.response, via=plan.opener.new_via(branch)).request)
            if not event.retransmission:
                bye = make_bye(
                    branch.request, event.response, via=plan.opener.new_via(branch),
                    reason='SIP ;cause=200 ;text="Call completed elsewhere"',
                )  # fmt: skip
                branch.send_raw(bye.request)
        except SipError as error:
            logger.info("an abandoned answer could not be acknowledged: %s", error)

    def is_invite(self) -> bool:
        """Whether this is an INVITE."""
        return isinstance(self.transaction, InviteServerTransaction)
