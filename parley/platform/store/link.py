"""One connection to one Redis server, shared by all callers of a process.

Commands issued in the same turn of the event loop leave in one write, and replies are matched in order, so the cost of
the socket is shared by all. A broken connection fails what was under way (its effect is not known) and the next command
connects anew, not more often than the backoff allows; until then commands fail at once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import hiredis
from prometheus_client import Counter, Gauge

from parley.platform.reasons import reason_of
from parley.platform.sockets import keep_alive
from parley.platform.store.errors import StoreError, StoreTimeout, StoreUnavailable, error_of_reply

logger = logging.getLogger(__name__)

Arg = str | bytes | int | float

_CONNECTS = Counter("parley_store_connects_total", "Connections made to Redis, by outcome", ["outcome"])
_CONNECTED = Gauge("parley_store_links_connected", "Connections to Redis that are up")

_BACKOFF_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_MAX_WAITING: Final = 50_000
_LATE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    user: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


class _Protocol(asyncio.Protocol):
    """Feeds hiredis and hands replies to the link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._reader = hiredis.Reader()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                self._link.on_reply(reply)
        except hiredis.HiredisError as error:
            self._link.on_lost(self, StoreUnavailable(f"Redis sent no RESP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.on_lost(self, StoreUnavailable(f"the connection to Redis broke: {exc or 'closed'}"))


class Link:
    """A pipelined connection that comes back by itself."""

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = 2.0,
        connect_timeout_s: float = 1.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``timeout_s``: longest wait for a reply; a server that is silent that long is taken for lost.

        ``tls``: for servers that are reached by host and port; None: no TLS.
        """
        self.address = address
        self._tls = tls
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._protocol: _Protocol | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._problem = ""
        self._out: list[bytes] = []
        self._unsent: deque[asyncio.Future[Any]] = deque()
        self._sent: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._scheduled = False
        self._watchdog: asyncio.TimerHandle | None = None
        self._check_at = 0.0
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether no command is under way."""
        return not self._sent and not self._unsent

    def submit(self, args: Sequence[Arg]) -> asyncio.Future[Any]:
        """Sends a command; the future gets its reply, StoreError for an error reply, or StoreUnavailable."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(StoreUnavailable("the store is closed"))
            return future
        if self._transport is None and self._connecting is None and self._loop.time() < self._retry_at:
            future.set_exception(self._unreachable())
            return future
        if len(self._sent) + len(self._unsent) >= _MAX_WAITING:
            future.set_exception(StoreUnavailable("too many commands wait for Redis"))
            return future
        self._out.append(hiredis.pack_command(tuple(args)))  # type: ignore[arg-type]  # it takes numbers too
        self._unsent.append(future)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    async def execute(self, *args: Arg) -> Any:
        """The reply to one command."""
        return await self.submit(args)

    async def close(self) -> None:
        """Closes the connection; what is under way fails."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._protocol is not None:
            self.on_lost(self._protocol, StoreUnavailable("the store is closed"))
        self._fail(StoreUnavailable("the store is closed"))
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _flush(self) -> None:
        self._scheduled = False
        if not self._out:
            return
        if self._transport is None:
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
            return
        now = self._loop.time()
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        deadline = now + self._timeout_s
        for future in self._unsent:
            self._sent.append((deadline, future))
        self._unsent.clear()
        self._transport.write(data)
        if self._watchdog is None:
            self._check_in(self._timeout_s)

    def on_reply(self, reply: Any) -> None:
        """A reply came; it belongs to the oldest command."""
        if not self._sent:
            return
        _, future = self._sent.popleft()
        if future.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            future.set_exception(error_of_reply(str(reply)))
        else:
            future.set_result(reply)

    def on_lost(self, protocol: _Protocol, error: StoreUnavailable) -> None:
        """The connection is gone: nothing that was sent will be answered."""
        if protocol is not self._protocol:
            return
        self._protocol = None
        transport, self._transport = self._transport, None
        if transport is not None:
            _CONNECTED.dec()
            transport.abort()
        if not self._closed:
            logger.warning("lost Redis at %s: %s", self.address, error)
        self._fail(error)

    def _check(self) -> None:
        """A server that does not answer is as good as gone."""
        self._watchdog = None
        if not self._sent:
            return
        now = self._loop.time()
        deadline = self._sent[0][0]
        if now < deadline:
            self._check_in(deadline - now)
        elif now > self._check_at + _LATE_S:
            self._check_in(_LATE_S)  # this process was held up: the reply may have arrived without being read
        elif self._protocol is not None:
            self.on_lost(self._protocol, StoreTimeout(f"Redis at {self.address} does not answer"))

    def _check_in(self, seconds: float) -> None:
        self._check_at = self._loop.time() + seconds
        self._watchdog = self._loop.call_later(seconds, self._check)

    def _fail(self, error: StoreUnavailable) -> None:
        waiting = [future for _, future in self._sent]
        waiting.extend(self._unsent)
        self._sent.clear()
        self._unsent.clear()
        self._out.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, protocol = await self._open()
            if transport.is_closing():
                raise ConnectionError("closed after the greeting")
        except (OSError, TimeoutError, StoreError) as error:
            _CONNECTS.labels("failed").inc()
            self._retry_at = self._loop.time() + _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
            self._failures += 1
            self._problem = reason_of(error)
            if self._failures == 1:
                logger.warning("Redis at %s cannot be reached: %s", self.address, self._problem)
            self._fail(self._unreachable())
            return
        finally:
            self._connecting = None
        if self._failures:
            logger.info("Redis at %s is back", self.address)
        self._failures = 0
        _CONNECTS.labels("ok").inc()
        _CONNECTED.inc()
        self._transport, self._protocol = transport, protocol
        self._flush()

    def _unreachable(self) -> StoreUnavailable:
        return StoreUnavailable(f"Redis at {self.address} cannot be reached: {self._problem}")

    async def _open(self) -> tuple[asyncio.Transport, _Protocol]:
        address = self.address
        greeting: list[list[Arg]] = []
        if address.password:
            greeting.append(["AUTH", address.user or "default", address.password])
        if address.database:
            greeting.append(["SELECT", address.database])
        protocol = _Greeter(self)
        if address.path:
            transport, _ = await self._loop.create_unix_connection(lambda: protocol, address.path)
        else:
            transport, _ = await self._loop.create_connection(lambda: protocol, address.host, address.port, ssl=self._tls)
            keep_alive(transport.get_extra_info("socket"), idle_s=5, every_s=2, tries=3)
        try:
            greeting.append(["PING"])
            for command in greeting:
                await protocol.ask(transport, command)
        except BaseException:
            transport.abort()
            raise
        protocol.greeted = True
        return transport, protocol


class _Greeter(_Protocol):
    """The same protocol while the first commands of a connection are asked one by one."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.greeted = False
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def ask(self, transport: asyncio.Transport, command: list[Arg]) -> None:
        """One command of the greeting. Raises StoreError when it is refused."""
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]  # it takes numbers too
        reply = await self._answer
        if isinstance(reply, hiredis.ReplyError):
            raise error_of_reply(str(reply))

    def data_received(self, data: bytes) -> None:
        if self.greeted:
            super().data_received(data)
            return
        self._reader.feed(data)
        reply = self._reader.gets()
        if reply is not False and not self._answer.done():
            self._answer.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.greeted and not self._answer.done():
            self._answer.set_exception(ConnectionError("closed while greeting"))
        super().connection_lost(exc)
