"""Spans of branches: one for each copy that is sent, siblings under the request's own."""

from __future__ import annotations

from parley.platform.telemetry.tracing import Span
from parley.sip.message import Request, Response
from services.frontend.proxying.branches import Branch, BranchUser

SIP_HEADERS = ("Traceparent", "X-Traceparent")
"""Where SIP elements carry trace context; the first is preferred."""


def traceparent_of(request: Request) -> str | None:
    """The trace context that a request brought along, if any; it is checked where a span is started from it."""
    return request.get(SIP_HEADERS[0]) or request.get(SIP_HEADERS[1])


class TracedUser:
    """Stands between a branch and its user, and closes the branch's span."""

    def __init__(self, user: BranchUser, span: Span) -> None:
        self._user = user
        self._span = span
        self._ended = False

    def on_response(self, branch: Branch, response: Response) -> None:
        """A final response closes the span."""
        if response.status >= 200:
            self._end(response.status, failed=response.status >= 500)
        self._user.on_response(branch, response)

    def on_failure(self, branch: Branch, status: int) -> None:
        """So does a failure."""
        self._end(status, failed=True)
        self._user.on_failure(branch, status)

    def on_over(self, branch: Branch) -> None:
        """And so does the end of a branch that was never answered."""
        self._end(487, failed=False)
        self._user.on_over(branch)

    def on_cancel(self, reason: str | None) -> None:
        """CANCEL is an event of the branch's span."""
        self._span.event("cancel", {"reason": reason or ""})
        self._user.on_cancel(reason)

    def _end(self, status: int, *, failed: bool) -> None:
        if not self._ended:
            self._ended = True
            self._span.set("sip.status_code", status)
            self._span.end("error" if failed else "ok")
