"""Connections of the HTTPS port: counted from when they are accepted, so that a TLS handshake under way counts too.

What comes over them and is no HTTP is answered 400, and written down nowhere: it may have a password in it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from services.web.config import WebLimitsConfig
from services.web.metrics import REQUESTS, refused

logger = logging.getLogger(__name__)

UNKNOWN: Final = "unknown"
"""The route of what is nobody's, in metrics."""
_BACKLOG: Final = 256
_ACCEPTS: Final = 64
"""Connections that are accepted before other work has its turn."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S: Final = 1.0
"""How long nothing is accepted when the system has no room."""


class Connection(web.RequestHandler):
    """One connection, its handshake done."""

    __slots__ = ("_http",)

    def __init__(self, http: HttpServer, **options: Any) -> None:
        super().__init__(http, loop=asyncio.get_running_loop(), **options)
        self._http = http

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        self._http.on_lost(self)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is answered where no handler can: what came is no HTTP, or our own code failed."""
        if isinstance(exc, HttpProcessingError):
            self.log_exception("", exc_info=exc)
            REQUESTS.labels(UNKNOWN, "400").inc()
            response: web.StreamResponse = web.Response(status=400, text="this is no request of HTTP\n")
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        self._http.add_headers(response)
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What is wrong with what came quotes it, so only its kind is told."""
        error = kw.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            logger.debug("a request could not be read: %s", type(error).__name__)
        else:
            super().log_exception(*args, **kw)


class HttpServer(web.Server):
    """Makes connections, and closes them."""

    def __init__(self, of: web.Server, add_headers: Callable[[web.StreamResponse], None], **options: Any) -> None:
        """``of``: whose requests are answered; ``add_headers``: adds those that every answer has."""
        super().__init__(of.request_handler, request_factory=of.request_factory, **options)
        self._options = options
        self.add_headers = add_headers
        self.on_lost: Callable[[Connection], None] = lambda connection: None

    def __call__(self) -> Connection:
        """A connection."""
        return Connection(self, **self._options)


class HttpsPorts:
    """Accepts connections within limits."""

    def __init__(self, http: HttpServer, limits: WebLimitsConfig, context: ssl.SSLContext) -> None:
        self._http = http
        self._limits = limits
        self._context = context
        self._listening: list[socket.socket] = []
        self._greeting: set[asyncio.Task[None]] = set()
        self._sources: dict[Connection, str] = {}
        """Of each connection, also while its handshake lasts."""
        self._per_source: Counter[str] = Counter()
        http.on_lost = self._leave

    @property
    def count(self) -> int:
        """Connections, those with a handshake under way too."""
        return len(self._sources)

    async def listen(self, host: str, port: int) -> list[tuple[str, int]]:
        """Where it listens; port 0: a free one. Raises OSError."""
        loop, addresses = asyncio.get_running_loop(), []
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                listening = socket.socket(family, socket.SOCK_STREAM)
            except OSError:  # a name has an IPv6 address, and this machine has no IPv6
                continue
            self._listening.append(listening)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((address[0], port, *address[2:]))
            listening.listen(_BACKLOG)
            name = listening.getsockname()
            port = name[1]
            addresses.append((name[0], port))
            self._resume(listening)
        if not addresses:
            raise OSError(errno.EAFNOSUPPORT, "there is no address of a kind that this machine has")
        return addresses

    async def close(self) -> None:
        """Accepts no more; handshakes end, connections stay."""
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening.fileno())
            listening.close()
        self._listening.clear()
        for task in list(self._greeting):
            task.cancel()
        await asyncio.gather(*self._greeting, return_exceptions=True)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTS):
            try:
                accepted, address = listening.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    logger.warning("no connection can be accepted: %s", error.strerror)
                    loop.remove_reader(listening.fileno())
                    loop.call_later(_PAUSE_S, self._resume, listening)
                return
            limit = self._limit(address[0])
            if limit:
                refused(limit)
                accepted.close()
                continue
            connection = self._http()
            self._sources[connection] = address[0]
            self._per_source[address[0]] += 1
            task = loop.create_task(self._greet(accepted, connection))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    def _limit(self, source: str) -> str:
        """What refuses one more connection; "" nothing does."""
        if len(self._sources) >= self._limits.connections:
            return "connections"
        return "connections_per_address" if self._per_source[source] >= self._limits.connections_per_address else ""

    async def _greet(self, accepted: socket.socket, connection: Connection) -> None:
        """The handshake; who is too slow for it, or does it wrong, is gone."""
        is_done = False
        try:
            accepted.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, accepted, ssl=self._context, ssl_handshake_timeout=self._limits.request_seconds
            )
            is_done = True
        except (OSError, TimeoutError) as error:  # an ssl.SSLError is an OSError
            logger.debug("a handshake failed: %s", error)
        finally:
            if not is_done:
                accepted.close()
                self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        source = self._sources.pop(connection, None)
        if source is None:
            return
        self._per_source[source] -= 1
        if self._per_source[source] <= 0:
            del self._per_source[source]
