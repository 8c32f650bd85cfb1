"""The HTTPS port: connections within limits, requests by the table of routes, each a span, counted, and answered in time.

A connection on which no request begins in time is closed; how many there may be is `services.web.connections`. What a row of
the table says of a request is checked here, before its handler is asked: who may, how large, of which type, and that what
changes something does not come from a page of another site (`services.web.guarding_pages`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import web

from parley.platform.clock import Clock
from parley.platform.limits import RateLimiter
from parley.platform.telemetry.tracing import Tracer
from parley.webticket.soap import SoapError
from services.web.config import WebLimitsConfig
from services.web.connections import UNKNOWN, HttpServer, HttpsPorts
from services.web.errors import HttpError
from services.web.failures import failure
from services.web.guarding_pages import PageGuard, compress, request_id_of
from services.web.metrics import CONNECTIONS, REQUESTS, refused
from services.web.routes import Access, Caller, Route, RouteTable, Style, headers_of, note, request_id

logger = logging.getLogger(__name__)

_KEEP_ALIVE_S: Final = 75.0
_SHUTDOWN_S: Final = 1.0
_LINGER_S: Final = 1.0
"""How long what is left of a request is read after the answer."""
_PLAIN: Final = "identity"
_STYLES: Final = {"/api/": Style.PROBLEM, "/scim/": Style.SCIM}
_QUIET: Final = frozenset({304, 401})
"""Answers that belong to the usual exchange."""


Gate = Callable[[web.Request, Route], Awaitable[Caller]]
"""Who sends a request, if the route lets them. Raises HttpError."""


class HttpsServer:
    """Serves until closed."""

    def __init__(
        self, routes: Sequence[Route], limits: WebLimitsConfig, clock: Clock, tracer: Tracer, gate: Gate, pages: PageGuard
    ) -> None:
        """``gate``: asked for every route that is not open to all."""
        self._table = RouteTable(routes)
        self._gate = gate
        self._pages = pages
        self._users = RateLimiter(limits.user_requests_per_second, limits.user_request_burst)
        self._limits = limits
        self._clock = clock
        self._tracer = tracer
        self._rate = RateLimiter(limits.requests_per_second, limits.request_burst)
        self._runner: web.AppRunner | None = None
        self._http: HttpServer | None = None
        self._ports: HttpsPorts | None = None
        self._silent: dict[Any, float] = {}
        """Connections without a request so far, and since when."""
        self._known: set[Any] = set()
        self.addresses: list[tuple[str, int]] = []

    async def open(self, hosts: Sequence[str], port: int, context: ssl.SSLContext) -> None:
        """Binds the port. Raises OSError when it is taken; what was opened is closed then."""
        app = web.Application(client_max_size=self._limits.body_bytes)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._serve)  # a line break too is ours to refuse
        app.on_response_prepare.append(self._complete)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        assert self._runner.server is not None
        # A body that is compressed is refused, so nothing is unpacked before somebody looks at it.
        self._http = HttpServer(
            self._runner.server, self._pages.add_headers, access_log=None, keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=_LINGER_S, auto_decompress=False,
        )  # fmt: skip
        self._ports = HttpsPorts(self._http, self._limits, context)
        try:
            for host in hosts:
                self.addresses += await self._ports.listen(host, port)
                port = port or self.addresses[0][1]
        except OSError as error:
            await self.close()
            raise OSError(
                error.errno, f"cannot listen on {host} port {port} for HTTPS: {error.strerror or error}; see web.port"
            ) from None

    async def close(self) -> None:
        """Closes the port and its connections; what is being answered has a second to be."""
        if self._ports is not None:
            await self._ports.close()
            self._ports = None
        if self._http is not None:
            await asyncio.sleep(0)  # requests that have come begin to be answered
            self._http.pre_shutdown()
            await self._http.shutdown(_SHUTDOWN_S)
            self._http = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def sweep(self) -> None:
        """Closes connections that are silent for too long; to be called every second or so."""
        if self._http is None or self._ports is None:
            return
        now = self._clock.monotonic()
        here = self._http.connections
        CONNECTIONS.set(self._ports.count)
        self._known.intersection_update(here)
        self._silent = {handler: self._silent.get(handler, now) for handler in here if handler not in self._known}
        for handler, since in self._silent.items():
            if now - since > self._limits.request_seconds and handler.transport is not None:
                refused("first_request")
                handler.transport.abort()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._known.add(request.protocol)
        found = self._table.find(request.method, request.rel_url.raw_path)
        route = found.route
        name = route.name if route is not None else UNKNOWN
        limit = (route.body_bytes if route is not None else 0) or self._limits.body_bytes
        request = request.clone(client_max_size=limit)
        note(request, parameters=found.parameters, limit=limit, id=request_id_of(request))
        with self._tracer.start(f"http {name}", kind="server") as span:
            span.set("http.request.id", request_id(request))
            if not self._rate.allow(request.remote or "", self._clock.monotonic()):
                refused("requests")
                response: web.StreamResponse = web.Response(
                    status=429, text="too many requests\n", headers={"Retry-After": "5"}
                )
            elif route is None:
                response = _nothing(request, found.methods)
            else:
                response = await self._answer(route, request, limit)
            if not response.prepared:
                self._finish(request, response)
            span.set("http.response.status_code", response.status)
        REQUESTS.labels(name, str(response.status)).inc()
        return response

    async def _answer(self, route: Route, request: web.Request, limit: int) -> web.StreamResponse:
        try:
            async with asyncio.timeout(route.seconds or self._limits.request_seconds):
                return await self._handle(route, request, limit)
        except TimeoutError:
            refused("request_seconds")
            error = HttpError(408, "the request took too long")
        except web.HTTPRequestEntityTooLarge:
            refused("body_bytes")
            error = HttpError(413, "the body is too large")
        except web.RequestPayloadError:
            error = HttpError(400, "the body cannot be read")
        except SoapError as wrong:
            error = HttpError(400, str(wrong))
        except HttpError as told:
            error = told
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            logger.exception("%s failed, request %s", route.name, request_id(request))
            error = HttpError(500, "a mistake of ours; the log has it by the request id")
        if error.status not in _QUIET:
            logger.info("%s answered %d: %s, request %s", route.name, error.status, error.text, request_id(request))
        return failure(request, error, route.style)

    async def _handle(self, route: Route, request: web.Request, limit: int) -> web.StreamResponse:
        self._pages.refuse_other_sites(request)
        if (request.content_length or 0) > limit:
            raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
        if route.access is not Access.OPEN:
            caller = await self._gate(request, route)
            if not self._users.allow(caller.address or caller.scheme, self._clock.monotonic()):
                refused("user_requests")
                raise HttpError(429, "too many requests", headers=[("Retry-After", "5")])
            note(request, caller=caller)
        if request.body_exists and request.headers.get("Content-Encoding", _PLAIN).strip().lower() not in (_PLAIN, ""):
            raise HttpError(415, "the body has to be as it is, not compressed", headers=[("Accept-Encoding", _PLAIN)])
        if route.content_types and request.content_type not in route.content_types and request.body_exists:
            raise HttpError(415, f"the body has to be {' or '.join(route.content_types)}")
        return await route.handler(request)

    def _finish(self, request: web.Request, response: web.StreamResponse) -> None:
        """What goes with an answer that is not on its way yet."""
        for name, value in headers_of(request):
            response.headers.add(name, value)
        response.headers.setdefault("X-Request-Id", request_id(request))
        if isinstance(response, web.Response):
            compress(request, response)

    async def _complete(self, request: web.Request, response: web.StreamResponse) -> None:
        """The headers of every answer."""
        self._pages.add_headers(response)
        if "X-Request-Id" not in response.headers and request_id(request):
            response.headers["X-Request-Id"] = request_id(request)


def _nothing(request: web.Request, methods: Sequence[str]) -> web.Response:
    """That there is no such path, or not with this method; in the words of the interface whose path it is."""
    allow = [("Allow", ", ".join(methods))] if methods else []
    error = HttpError(405, "not with this method", headers=allow) if methods else HttpError(404, "there is nothing here")
    path = request.path.lower()
    style = next((style for begin, style in _STYLES.items() if path.startswith(begin)), None)
    if style is not None:
        return failure(request, error, style)
    return web.Response(status=error.status, text=f"{error.text}\n", headers=dict(error.headers))
