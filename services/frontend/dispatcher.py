"""From bytes to whoever deals with them.

Order of a message's way: rate limit of its source, parser, ``received`` and ``rport``, then REGISTER to the registration, a
request to the server itself to `responses`, everything else to the proxy. A message that cannot be read is answered when
enough of it could be, else dropped; both are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Final

from prometheus_client import Counter

from parley.platform.clock import Clock
from parley.platform.limits import RateLimiter
from parley.platform.telemetry.counters import FastCounter
from parley.sip.errors import SipParseError
from parley.sip.limits import DEFAULT_LIMITS, Limits
from parley.sip.message import Request, Response, make_response, parse_message
from services.frontend.answers import COUNTED_METHODS
from services.frontend.associations import Gate
from services.frontend.config import LimitsConfig
from services.frontend.flows import Flow
from services.frontend.limits import refused
from services.frontend.proxying.proxy import ProxyCore
from services.frontend.proxying.wiring import Addresses
from services.frontend.registration import Registration
from services.frontend.responses import answer_here, answer_unreadable

logger = logging.getLogger(__name__)

_MESSAGES = FastCounter("parley_frontend_messages_total", "SIP messages received, by method or 'response'", ["method"])
_MALFORMED = Counter("parley_frontend_malformed_total", "Messages that are no SIP, by status", ["status"])

_ROUTED: Final = ("ACK", "CANCEL", "SERVICE")
"""Requests to the server itself that the proxy deals with all the same: an application may serve them."""


class Dispatcher:
    """See `services.frontend.transports.sink.MessageSink`."""

    def __init__(
        self,
        *,
        domains: frozenset[str],
        limits: LimitsConfig,
        addresses: Addresses,
        registration: Registration,
        gate: Gate,
        proxy: ProxyCore,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        header_line: int = DEFAULT_LIMITS.header_line,
    ) -> None:
        """``header_line``: characters that one header may have."""
        self._domains = domains
        self._addresses = addresses
        self._registration = registration
        self._gate = gate
        self._proxy = proxy
        self._clock = clock
        self._loop = loop
        self._limits = Limits(
            message=limits.message_bytes, head=min(32_768, limits.message_bytes), body=limits.message_bytes,
            header_line=header_line,
        )  # fmt: skip
        self._rate = RateLimiter(limits.requests_per_second, limits.request_burst)
        self._counts = {method: _MESSAGES.labels(method) for method in COUNTED_METHODS}
        self._other, self._responses = _MESSAGES.labels("other"), _MESSAGES.labels("response")
        self.draining = False
        self.ending = False
        """Connections close in a moment: no INVITE is begun, not even in a dialog, as its ACK would come too late."""

    def on_message(self, data: bytes, flow: Flow) -> None:
        """One message."""
        if not flow.trusted and not self._rate.allow(flow.remote[0], self._clock.monotonic()):
            refused("source_requests")
            return
        try:
            message = parse_message(data, self._limits)
            if flow.seal is not None and not self._gate.admit(message, flow):
                return
            if isinstance(message, Response):
                self._responses.inc()
                self._proxy.receive_response(message, flow)
            else:
                self._counts.get(message.method, self._other).inc()
                self._on_request(message, flow)
        except SipParseError as error:
            self._on_unreadable(error, flow)
        except Exception:
            logger.exception("a message from %s could not be dealt with", flow.source)

    def _on_request(self, request: Request, flow: Flow) -> None:
        note_source(request, flow)
        method = request.method
        if method == "REGISTER":
            if self.draining:
                self._send_away(request, flow)
            else:
                self._registration.handle(request, flow)
            return
        if self.draining and method == "INVITE" and (self.ending or request.to_tag is None):
            self._send_away(request, flow)
            return
        if method not in _ROUTED and self._is_for_server(request):
            flow.send(bytes(answer_here(request, flow)))
            return
        self._proxy.handle(request, flow)

    def _is_for_server(self, request: Request) -> bool:
        """Whether the Request-URI is the server itself and nothing routes the request further."""
        if "Route" in request or ":" not in request.uri_text:
            return False
        scheme = request.uri_text.partition(":")[0].lower()
        if scheme not in ("sip", "sips"):
            return False
        uri = request.uri
        host = uri.host.lower()
        return not uri.user and (host in self._domains or host in self._addresses.hosts)

    def _send_away(self, request: Request, flow: Flow) -> None:
        """This front end is about to stop: clients come back elsewhere, spread out in time."""
        refused("draining")
        seconds = random.randint(2, 12)  # noqa: S311 - no secret
        headers = (("Retry-After", str(seconds)),)
        flow.send(bytes(make_response(request, 503, to_tag=flow.new_tag(), headers=headers)))

    def _on_unreadable(self, error: SipParseError, flow: Flow) -> None:
        _MALFORMED.labels(str(error.status)).inc()
        if error.message is not None:
            with contextlib.suppress(SipParseError):  # of an unreadable Via the text alone goes back
                note_source(error.message, flow)
        answer = answer_unreadable(error, flow)
        if answer is not None:
            flow.send(bytes(answer))

    def on_framing_error(self, error: SipParseError, flow: Flow) -> None:
        """Answers if possible; the connection is closed by its transport."""
        self._on_unreadable(error, flow)

    def on_closed(self, flow: Flow) -> None:
        """A connection ended: its bindings go after a while, and what waits for an answer over it tries another."""
        self._proxy.on_flow_closed(flow)
        self._registration.on_flow_closed(flow, self._loop.call_later, sent_away=self.draining)


def note_source(request: Request, flow: Flow) -> None:
    """Puts ``received`` and ``rport`` on the top Via (RFC 3261 section 18.2.1, RFC 3581). Raises SipParseError."""
    via = request.via
    host, port = flow.remote
    wants_port = "rport" in via.params
    sent_by = via.host.strip("[]")
    if not wants_port and sent_by == host:
        return
    via.params.set("received", host)
    if wants_port:
        via.params.set("rport", str(port))
    request.replace_via(via)
