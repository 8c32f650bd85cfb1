"""The HTTPS port: connections within limits, requests by the table of routes, each a span, counted, and answered in time.

A connection on which no request begins in time is closed, as is one more of an address that has too many.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from parley.platform.clock import Clock
from parley.platform.limits import RateLimiter
from parley.platform.telemetry.tracing import Tracer
from parley.webticket.soap import SoapError, fault
from services.web.config import WebLimitsConfig
from services.web.errors import HttpError
from services.web.metrics import CONNECTIONS, REQUESTS, refused
from services.web.routes import XML, Route

logger = logging.getLogger(__name__)

_KEEP_ALIVE_S: Final = 75.0
_LINGER_S: Final = 1.0
"""How long what is left of a request is read after the answer."""
_INCOMPLETE: Final = frozenset({408, 413})
"""Answers before the request was read whole."""
_UNKNOWN: Final = "unknown"


class HttpsServer:
    """Serves until closed."""

    def __init__(self, routes: Sequence[Route], limits: WebLimitsConfig, clock: Clock, tracer: Tracer) -> None:
        self._routes = {(route.method, route.path.lower()): route for route in routes}
        self._methods = {path: [method for method, other in self._routes if other == path] for _, path in self._routes}
        self._limits = limits
        self._clock = clock
        self._tracer = tracer
        self._rate = RateLimiter(limits.requests_per_second, limits.request_burst)
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []
        self._silent: dict[Any, float] = {}
        """Connections without a request so far, and since when."""
        self._known: set[Any] = set()
        self.addresses: list[tuple[str, int]] = []

    async def open(self, hosts: Sequence[str], port: int, context: ssl.SSLContext) -> None:
        """Binds the port. Raises OSError when it is taken; what was opened is closed then."""
        app = web.Application(client_max_size=self._limits.body_bytes)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=_KEEP_ALIVE_S, lingering_time=_LINGER_S
        )
        await runner.setup()
        assert runner.server is not None
        self._runner = runner
        loop, seconds = asyncio.get_running_loop(), self._limits.request_seconds
        try:
            for host in hosts:
                listener = await loop.create_server(
                    runner.server, host, port, ssl=context, backlog=256, ssl_handshake_timeout=seconds
                )
                self._listeners.append(listener)
                self.addresses += [socket.getsockname()[:2] for socket in listener.sockets]
                port = port or self.addresses[0][1]
        except OSError as error:
            await self.close()
            raise OSError(
                error.errno, f"cannot listen on {host} port {port} for HTTPS: {error.strerror or error}; see web.port"
            ) from None

    async def close(self) -> None:
        """Closes the port and its connections."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def sweep(self) -> None:
        """Closes connections that are too many, or silent for too long; to be called every second or so."""
        if self._runner is None or self._runner.server is None:
            return
        now = self._clock.monotonic()
        here = self._runner.server.connections
        CONNECTIONS.set(len(here))
        self._known.intersection_update(here)
        since = {handler: self._silent.get(handler, now) for handler in here if handler not in self._known}
        self._silent = since
        sources: Counter[str] = Counter()
        for number, handler in enumerate(here):
            peer = handler.transport.get_extra_info("peername") if handler.transport is not None else None
            source = peer[0] if peer else ""
            sources[source] += 1
            limit = ""
            if number >= self._limits.connections:
                limit = "connections"
            elif sources[source] > self._limits.connections_per_address:
                limit = "connections_per_address"
            elif handler in since and now - since[handler] > self._limits.request_seconds:
                limit = "first_request"
            if limit and handler.transport is not None:
                refused(limit)
                handler.transport.abort()

    async def _serve(self, request: web.Request) -> web.Response:
        self._known.add(request.protocol)
        path = request.path.lower()
        route = self._routes.get((request.method, path))
        name = f"{route.method} {route.path}" if route is not None else _UNKNOWN
        with self._tracer.start(f"http {name}", kind="server") as span:
            if self._rate.allow(request.remote or "", self._clock.monotonic()):
                response = await self._answer(route, request, path)
            else:
                refused("requests")
                response = web.Response(status=429, text="too many requests\n", headers={"Retry-After": "5"})
            response.headers["Cache-Control"] = "no-store"
            span.set("http.response.status_code", response.status)
        REQUESTS.labels(name, str(response.status)).inc()
        return response

    async def _answer(self, route: Route | None, request: web.Request, path: str) -> web.Response:
        if route is None:
            allowed = self._methods.get(path)
            if allowed is None:
                return web.Response(status=404, text="there is nothing here\n")
            return web.Response(status=405, text="not with this method\n", headers={"Allow": ", ".join(allowed)})
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await route.handler(request)
        except TimeoutError:
            refused("request_seconds")
            return _failure(HttpError(408, "the request took too long"))
        except web.HTTPRequestEntityTooLarge:
            refused("body_bytes")
            return _failure(HttpError(413, "the body is too large"))
        except SoapError as error:
            return _failure(HttpError(400, str(error)))
        except HttpError as error:
            return _failure(error)


def _failure(error: HttpError) -> web.Response:
    code = "Server" if error.status >= 500 else "Client"
    response = web.Response(body=fault(code, error.text), status=error.status, content_type=XML)
    response.headers.extend(error.headers)
    if error.status in _INCOMPLETE:
        response.force_close()
    return response
