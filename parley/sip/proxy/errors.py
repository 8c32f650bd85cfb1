"""Why a proxy refuses a request itself, as the response to send (RFC 3261 section 16.3)."""

from __future__ import annotations

from parley.sip.errors import SipError
from parley.sip.message import Request, Response, make_response


class ProxyError(SipError):
    """A request that is answered here, not forwarded: a status and the headers that explain it."""

    def __init__(self, status: int, reason: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status} {reason or ''}".rstrip())
        self.status: int = status
        self.reason: str | None = reason
        self.headers: tuple[tuple[str, str], ...] = headers

    def to_response(self, request: Request, to_tag: str | None = None) -> Response:
        """The response to send."""
        return make_response(request, self.status, self.reason, to_tag=to_tag, headers=self.headers)
