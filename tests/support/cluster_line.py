"""A line from a phone to whichever server serves it: connection, transactions, credentials.

When its connection ends, or a server answers 503 or not at all, it goes to the next address it knows (RFC 3263 section 4.3).
Requests over UDP are sent again (RFC 3261 section 17.1). A request that a server sends away is made anew until Timer B or F
of the first one is over; whoever owns the line registers on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import cast

from parley.sip.framing import KeepAlive, StreamFramer
from parley.sip.message import Request, Response, parse_message
from tests.support.cluster_ledger import Ledger
from tests.support.sip_client import OPEN, SipClient
from tests.support.waiting import until

T1 = 0.5
TRANSACTION_S = 64 * T1
"""Timers B and F: who has no final answer by then has failed."""
_SERVER_S = 8.0
"""After that long without an answer a phone registers at another server."""
_CONNECT_S = 4.0
_AWAY = frozenset({430, 503, 504})
_MOST_STALE = 3
"""Challenges in a row that a phone answers, where after the first only its nonce is out of date (RFC 7616 section 3.3)."""
_STALE = re.compile("stale=true", re.IGNORECASE)
_numbers = itertools.count(1)

Back = Callable[[bytes], None]
"""Sends an answer on the flow of its request (RFC 3261 section 18.2.2)."""


class PhoneError(Exception):
    """What a person would see in place of success."""


class ConnectionEndedError(PhoneError):
    """The connection ended before the answer."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as it was sent last, and its final answer."""

    request: Request
    answer: Response


class Line(SipClient):
    """The lower half of a phone."""

    def __init__(
        self, user: str, password: str, edges: Sequence[tuple[str, int]], ledger: Ledger, *, transport: str,
        source: str = "", source_port: int = 0,
    ) -> None:  # fmt: skip
        """``edges``: addresses of the server, the first is tried first; ``source``: the address to call from."""
        super().__init__(user, password, transport=transport)
        self.edges = list(edges)
        self.at = 0
        """Which of them it uses."""
        self.ledger = ledger
        self.number = next(_numbers)
        self.registered = asyncio.Event()
        self._source = (source or "0.0.0.0", source_port)
        self._challenges: dict[str, tuple[str, int]] = {}
        self._waiting: dict[str, tuple[asyncio.Event, asyncio.Queue[Response | None]]] = {}
        """What waits for an answer, and the end of the connection that it was sent on."""
        self._moving = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    # What comes.

    def take(self, message: Request | Response, back: Back) -> None:
        """A message came; ``back`` sends to where it came from."""
        if isinstance(message, Request):
            self.serve(message, back)
            return
        waiting = self._waiting.get(_key_of(message))
        if waiting is not None:
            waiting[1].put_nowait(message)
        else:
            self.repeated(message)

    def repeated(self, answer: Response) -> None:
        """An answer came that nobody waits for any more."""

    def serve(self, request: Request, back: Back) -> None:
        """A request came, to be answered by ``back``."""
        raise NotImplementedError

    def connection_ended(self, closed: asyncio.Event) -> None:
        """Wakes who waits for an answer on it."""
        closed.set()
        for own, queue in self._waiting.values():
            if own is closed:
                queue.put_nowait(None)

    # The connection.

    async def open(self) -> None:
        """A socket towards the server in use; what is asked on the one before may end. Raises OSError, TimeoutError."""
        old, ended = self._abort, self.closed
        await (self._open_datagrams() if self.transport == "udp" else self._open_stream())
        if self in OPEN:
            self._closing.add(task := asyncio.create_task(self._close_unused(old, ended)))
            task.add_done_callback(self._closing.discard)
        else:
            OPEN.append(self)

    async def _open_datagrams(self) -> None:
        """A phone has one socket for all servers, and takes nothing from others: so does the NAT in front of it."""
        if self in OPEN:
            return
        closed, loop = asyncio.Event(), asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self, closed), local_addr=self._source)
        self._write = lambda data: transport.sendto(data, self.edges[self.at])
        self._close, self._abort, self.closed = transport.close, transport.abort, closed
        port = transport.get_extra_info("sockname")[1]
        self.local = (_address_towards(self.edges[0], self._source[0]), port)

    async def _open_stream(self) -> None:
        host, port = self.edges[self.at]
        closed, loop = asyncio.Event(), asyncio.get_running_loop()
        local = self._source if self._source[0] != "0.0.0.0" else None
        async with asyncio.timeout(_CONNECT_S):
            transport, _ = await loop.create_connection(
                lambda: _Stream(self, closed), host, port, ssl=_any_certificate(self.transport), local_addr=local
            )
        self._write, self._close, self._abort, self.closed = transport.write, transport.close, transport.abort, closed
        self.local = transport.get_extra_info("sockname")[:2]

    def awaits_ack(self) -> bool:
        """Whether a call that was taken has not been acknowledged."""
        return False

    async def _close_unused(self, abort: Callable[[], None], ended: asyncio.Event) -> None:
        """Closes a connection that was left, once no transaction may need it (RFC 3261 section 18)."""
        if ended is self.closed:
            return

        def is_done() -> bool:
            return not self.awaits_ack() and not any(own is ended for own, _ in self._waiting.values())

        try:
            with contextlib.suppress(AssertionError):  # whoever waits has given up by then, and said so
                await until(is_done, timeout=TRANSACTION_S + 1)
        finally:
            abort()

    async def abort(self) -> None:
        """Closes the socket at once, and waits until it is."""
        for task in self._closing:
            task.cancel()
        await super().abort()

    async def move(self, edge: int) -> None:
        """Goes from a server that is of no use to the next one, unless somebody did that already."""
        async with self._moving:
            if edge != self.at and not self.closed.is_set():
                return
            while True:
                self.at = (self.at + 1) % len(self.edges)
                try:
                    await self.open()
                    return
                except (OSError, TimeoutError):
                    self.ledger.note("connection refused")
                    await asyncio.sleep(0.1)

    def send(self, data: bytes) -> None:
        """Sends bytes; a connection that has ended swallows them."""
        if not self.closed.is_set():
            self._write(data)

    # Requests.

    async def ask_until(
        self, method: str, uri: str, *, to: str | None = None, headers: Iterable[tuple[str, str]] = (), body: bytes = b"",
        timeout: float = TRANSACTION_S,
    ) -> Exchange:  # fmt: skip
        """The final answer to a request outside dialogs, whichever server gives it. Raises PhoneError."""
        fields, tag = list(headers), token_hex(6)

        def make() -> Request:
            return self.request(method, uri, to=to, headers=fields, body=body, call_id=f"{tag}@{self.user}", from_tag=tag)

        return await self.persist(make, timeout)

    async def persist(self, make: Callable[[], Request], timeout: float = TRANSACTION_S) -> Exchange:
        """Makes a request until it is not sent away, here or there. Raises PhoneError."""
        deadline = time.monotonic() + timeout
        trouble = "no answer"
        while time.monotonic() < deadline:
            edge, request = self.at, make()
            try:
                exchange = await self._authorized(request, deadline)
                answer = exchange.answer
                if answer.status not in _AWAY:
                    return exchange
                self.ledger.sent_away(request.method, answer)
                trouble, told = f"{answer.status} {answer.reason}", float(answer.get("Retry-After") or 0)
            except PhoneError as error:
                # What became of a call whose connection ended nobody knows; anything else may be asked again.
                if request.method != "REGISTER" and (is_call(request) or not isinstance(error, ConnectionEndedError)):
                    raise
                trouble, told = str(error), 0.0
            if request.method == "REGISTER":
                # Another server is tried at once; when the last one sent it away too, it waits as it was told.
                await asyncio.sleep(min(told, 2.0) if edge == len(self.edges) - 1 else 0.05)
                await self.move(edge)
            else:
                await self._elsewhere(edge, deadline)
        raise PhoneError(f"{trouble} for {timeout:.0f} s")

    async def _elsewhere(self, edge: int, deadline: float) -> None:
        """Until the line is registered at another server, or at this one after a while."""
        self.registered.clear()
        self.on_sent_away(edge)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.registered.wait(), max(0.0, deadline - time.monotonic()))

    def on_sent_away(self, edge: int) -> None:
        """A server does not serve this line; its owner registers it anew."""
        raise NotImplementedError

    async def _authorized(self, request: Request, deadline: float) -> Exchange:
        """The final answer, with credentials; those of the last challenge first."""
        realm = "WWW-Authenticate" if request.method == "REGISTER" else "Proxy-Authenticate"
        if realm in self._challenges and request.to_tag is None:
            challenge, count = self._challenges[realm]
            self._challenges[realm] = (challenge, count + 1)
            value = self.credentials(challenge, request.method, request.uri_text, nc=count + 1)
            request.add("Authorization" if request.method == "REGISTER" else "Proxy-Authorization", value)
        answer = await self._transact(request, deadline)
        for again in range(_MOST_STALE):
            if answer.status not in (401, 407):
                break
            challenge = next(value for value in answer.get_all(realm) if "SHA-256" not in value)
            if again and not _STALE.search(challenge):
                break  # these credentials are wrong
            self._challenges[realm] = (challenge, 1)
            for name in ("Authorization", "Proxy-Authorization"):
                request.remove(name)
            request = self.authorize(request, answer)
            answer = await self._transact(request, deadline)
        return Exchange(request, answer)

    async def _transact(self, request: Request, deadline: float) -> Response:
        """A client transaction (RFC 3261 section 17.1). Raises PhoneError without a final answer."""
        queue: asyncio.Queue[Response | None] = asyncio.Queue()
        key = _key_of(request)
        self._waiting[key] = self.closed, queue
        if self.closed.is_set():
            queue.put_nowait(None)
        patience = _SERVER_S if request.method == "REGISTER" and len(self.edges) > 1 else TRANSACTION_S
        give_up = min(deadline, time.monotonic() + patience)
        resend_after = T1 if self.transport == "udp" else TRANSACTION_S
        data, sent_to = bytes(request), [self.edges[self.at]]
        try:
            self.send(data)
            while (left := give_up - time.monotonic()) > 0:
                try:
                    answer = await asyncio.wait_for(queue.get(), min(left, resend_after))
                except TimeoutError:
                    sent_to.append(self.edges[self.at])
                    self.send(data)
                    resend_after = resend_after * 2 if request.method == "INVITE" else min(resend_after * 2, 4.0)
                    continue
                if answer is None:
                    raise ConnectionEndedError(f"{request.method}: the connection ended before the answer")
                if answer.status >= 200:
                    if request.method == "INVITE" and answer.status >= 300:
                        self.acknowledge(request, answer)
                    return answer
                if request.method == "INVITE":
                    resend_after = TRANSACTION_S
        finally:
            del self._waiting[key]
        servers = ", ".join(dict.fromkeys(f"{host}:{port}" for host, port in sent_to))
        raise PhoneError(
            f"{request.method}: no answer from {servers} over {self.transport}, sent {len(sent_to)} times, "
            f"Call-ID {request.call_id}"
        )


def is_call(request: Request) -> bool:
    """Whether it begins a call."""
    return request.method == "INVITE" and request.to_tag is None


def _key_of(message: Request | Response) -> str:
    return f"{message.via.params.get('branch')} {message.cseq.method}"


def _address_towards(server: tuple[str, int], source: str) -> str:
    """The address of this machine that a server sees."""
    if source != "0.0.0.0":
        return source
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(server)
        address: str = probe.getsockname()[0]
        return address


def _any_certificate(transport: str) -> ssl.SSLContext | None:
    if transport != "tls":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, line: Line, closed: asyncio.Event) -> None:
        self._line, self._closed = line, closed
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # those of Python 3.11 do not say that they are

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.strip() and addr in self._line.edges:
            self._line.take(parse_message(data), partial(self._answer, addr))

    def _answer(self, addr: tuple[str, int], data: bytes) -> None:
        if self._transport is not None and not self._closed.is_set():
            self._transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._line.ledger.note("unreachable by ICMP")

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.connection_ended(self._closed)


class _Stream(asyncio.Protocol):
    def __init__(self, line: Line, closed: asyncio.Event) -> None:
        self._line, self._closed = line, closed
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # those of uvloop do not say that they are

    def data_received(self, data: bytes) -> None:
        for item in self._framer.feed(data):
            if not isinstance(item, KeepAlive):
                self._line.take(parse_message(item), self._answer)

    def _answer(self, data: bytes) -> None:
        """On this connection, or by the one in use once it has ended."""
        if self._transport is not None and not self._closed.is_set():
            self._transport.write(data)
        else:
            self._line.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.connection_ended(self._closed)
