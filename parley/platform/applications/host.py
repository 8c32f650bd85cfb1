"""The serving side of `parley.sip.v1.Application`: requests of clients, each handled in a task of its own.

One process has one such surface; the applications in it are told apart by name. Whatever goes wrong in a handler is
answered: a SipError with its status and diagnostics, anything else with 500.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from grpc import StatusCode
from prometheus_client import Counter, Histogram

from parley.platform.applications.messages import sip_message
from parley.platform.rpc.duplex import duplex_handler
from parley.platform.rpc.errors import RpcError, sip_status
from parley.platform.rpc.host import RpcHost
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.tracing import NO_TRACER, Tracer
from parley.proto.sip.v1 import application_pb2 as pb
from parley.proto.sip.v1.application_pb2_grpc import ApplicationServicer, add_ApplicationServicer_to_server
from parley.proto.sip.v1.message_pb2 import Flow
from parley.sip.errors import SipError, SipParseError
from parley.sip.message import Request, Response, make_response, parse_message

logger = logging.getLogger(__name__)

_REQUESTS = Counter("parley_application_requests_total", "Requests to SIP applications", ["application", "method", "status"])
_SECONDS = Histogram("parley_application_duration_seconds", "Time to the final answer", ["application"])

SERVICE = "parley.sip.v1.Application"

Send = Callable[[Any], None]


class Handler(Protocol):
    """A SIP application."""

    async def handle(self, incoming: Incoming) -> None:
        """Answers one request, now or later, by `Incoming.reply`; an ACK or a BENOTIFY has no answer."""


class Incoming:
    """A request at an application."""

    __slots__ = (
        "_answered", "_application", "_begun", "_on_end", "_send", "flow", "id", "on_cancel", "refused_with", "request",
        "span", "user_aor", "user_name",
    )  # fmt: skip

    def __init__(
        self, item: pb.ApplicationRequest, request: Request, send: Send, on_end: Callable[[Incoming], None]
    ) -> None:
        self.id: int = item.id
        self.request = request
        self.user_aor: str = item.user_aor
        """Address of record that authenticated; "" for a trusted server."""
        self.user_name: str = item.user_name
        self.flow: Flow = item.flow
        """By which the sender is reached."""
        self.refused_with: int = item.refused_with
        """What the endpoints answered after this application let the request proceed; 0: it is new."""
        self.span: Any = None
        self.on_cancel: Callable[[Request], None] | None = None
        """Told of a CANCEL; who does not set it lets the request be answered 487."""
        self._application: str = item.application
        self._send = send
        self._on_end = on_end
        self._answered = request.method in ("ACK", "BENOTIFY")
        self._begun = asyncio.get_running_loop().time()

    @property
    def answered(self) -> bool:
        """Whether a final response was sent."""
        return self._answered

    def respond(self, response: Response) -> None:
        """Sends a response; a second final one is not sent."""
        if self._answered:
            return
        event = pb.ApplicationResponse(id=self.id)
        event.response.CopyFrom(sip_message(response))
        if response.status >= 200:
            self._end(str(response.status))
            if self.span is not None:
                self.span.set("sip.status_code", response.status)
        self._send(event)

    def reply(
        self, status: int, reason: str | None = None, headers: Iterable[tuple[str, str]] = (), body: bytes = b"",
        *, to_tag: str | None = None, record_route: bool = False,
    ) -> Response:  # fmt: skip
        """Makes a response, sends it, and gives it back. ``to_tag``: put on To unless there is one."""
        response = make_response(
            self.request, status, reason, to_tag=to_tag or f"app{self.id:x}", headers=headers, body=body,
            record_route=record_route,
        )  # fmt: skip
        self.respond(response)
        return response

    def proceed(self, contacts: Iterable[str] = (), fallback: Iterable[int] = ()) -> None:
        """Leaves the request to the front end, which sends it to the endpoints of its user.

        ``contacts``: only bindings with these; none: all. ``fallback``: statuses with which it comes back here, once.
        """
        if self._answered:
            return
        event = pb.ApplicationResponse(id=self.id)
        event.proceed.contacts.extend(contacts)
        event.proceed.fallback.extend(fallback)
        self._end("proceeds")
        self._send(event)

    def fail(self, error: BaseException) -> None:
        """The answer to a request that could not be dealt with."""
        if isinstance(error, RpcError):
            status, retry_after = sip_status(error.code)
            self.reply(status, None, (("Retry-After", str(retry_after)),) if retry_after else ())
        elif isinstance(error, StoreError):
            self.reply(503, None, (("Retry-After", "5"),))
        elif isinstance(error, SipParseError):
            self.reply(error.status, error.reason, error.headers)
        elif isinstance(error, SipError):
            self.reply(400)
        else:
            self.reply(500)

    def _end(self, status: str) -> None:
        self._answered = True
        _REQUESTS.labels(self._application, self.request.method, status).inc()
        _SECONDS.labels(self._application).observe(asyncio.get_running_loop().time() - self._begun)
        self._on_end(self)


class ApplicationHost(ApplicationServicer):
    """The applications of one process."""

    def __init__(self, rpc: RpcHost) -> None:
        self._rpc = rpc
        self._handlers: dict[str, tuple[Handler, Tracer]] = {}
        self.Handle: Any = duplex_handler(lambda: _Session(self), pb.HandleResponse)

    def add(self, name: str, handler: Handler, tracer: Tracer = NO_TRACER) -> None:
        """Serves an application under a name; call it before the process starts to serve."""
        if not self._handlers:
            self._rpc.add_service(add_ApplicationServicer_to_server, self, SERVICE)
        self._handlers[name] = (handler, tracer)

    def __contains__(self, name: object) -> bool:
        return name in self._handlers

    def find(self, name: str) -> tuple[Handler, Tracer] | None:
        """An application and its tracer."""
        return self._handlers.get(name)


class _Session:
    """The requests of one front end."""

    def __init__(self, host: ApplicationHost) -> None:
        self._host = host
        self._open: dict[int, Incoming] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def on_item(self, item: pb.ApplicationRequest, send: Send) -> None:
        """A request, or the CANCEL of one."""
        if item.cancel:
            self._cancel(item)
            return
        found = self._host.find(item.application)
        if found is None:
            _fail(item.id, StatusCode.UNIMPLEMENTED, f"no application {item.application} here", send)
            return
        try:
            request = parse_message(item.message.raw)
        except SipError as error:
            _fail(item.id, StatusCode.INVALID_ARGUMENT, str(error), send)
            return
        if not isinstance(request, Request):
            _fail(item.id, StatusCode.INVALID_ARGUMENT, "not a request", send)
            return
        handler, tracer = found
        incoming = Incoming(item, request, send, self._ended)
        self._open[item.id] = incoming
        task = asyncio.get_running_loop().create_task(self._run(handler, incoming, tracer, item.traceparent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, handler: Handler, incoming: Incoming, tracer: Tracer, parent: str) -> None:
        request = incoming.request
        span = tracer.start(
            f"application.handle {request.method}", kind="server", parent=parent,
            attributes={"sip.method": request.method, "sip.call_id": request.get("Call-ID") or "",
                        "sip.aor": incoming.user_aor},
        )  # fmt: skip
        incoming.span = span
        try:
            with span:
                await self._handle(handler, incoming)
        finally:
            if incoming.answered:
                self._open.pop(incoming.id, None)

    @staticmethod
    async def _handle(handler: Handler, incoming: Incoming) -> None:
        try:
            await handler.handle(incoming)
        except (SipError, RpcError, StoreError) as error:
            logger.info("%s %s is refused: %s", incoming._application, incoming.request.method, error)
            incoming.fail(error)
        except asyncio.CancelledError:
            incoming.reply(503, None, (("Retry-After", "2"),))
            raise
        except Exception as error:
            logger.exception("%s failed", incoming._application, extra={"call_id": incoming.request.get("Call-ID")})
            incoming.fail(error)

    def _cancel(self, item: pb.ApplicationRequest) -> None:
        incoming = self._open.get(item.id)
        if incoming is None or incoming.answered:
            return
        if incoming.on_cancel is None:
            incoming.reply(487)
            return
        try:
            message = parse_message(item.message.raw)
        except SipError:
            return
        if isinstance(message, Request):
            incoming.on_cancel(message)

    def _ended(self, incoming: Incoming) -> None:
        self._open.pop(incoming.id, None)

    def on_closed(self) -> None:
        """The front end is gone, or its stream: what goes on is finished for nobody."""
        self._open.clear()


def _fail(item_id: int, code: StatusCode, message: str, send: Send) -> None:
    event = pb.ApplicationResponse(id=item_id)
    event.failure.code = code.value[0]
    event.failure.message = message
    send(event)
