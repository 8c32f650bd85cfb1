"""A SIP user agent on a socket: `parley.selftest.agent` over UDP, TCP or TLS, with waits that end.

Requests within dialogs that just have to be taken (NOTIFY, MESSAGE, BYE) are answered with 200 at once; an INVITE waits for
whoever asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Final, cast

from parley.platform.reasons import reason_of
from parley.selftest.agent import Answered, Asked, Identity, Unanswered, UserAgent
from parley.sip.errors import FramingError, SipParseError
from parley.sip.framing import KeepAlive, StreamFramer
from parley.sip.message import Request, Response, parse_message

_TAKEN: Final = frozenset({"NOTIFY", "MESSAGE", "BYE", "OPTIONS", "INFO", "CANCEL"})
"""Methods that are answered with 200."""
_LEFT_OPEN: Final = frozenset({"INVITE", "ACK"})


class PhoneError(Exception):
    """What was asked for did not come; the text says what came in its place."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server takes SIP."""

    transport: str
    """"UDP", "TCP" or "TLS"."""
    host: str
    port: int
    trust: ssl.SSLContext | None = None
    """How its certificate is checked, with TLS."""
    name: str = ""
    """That the certificate must have."""

    def __str__(self) -> str:
        return f"{self.transport} {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Phone(asyncio.DatagramProtocol, asyncio.Protocol):
    """One user on one connection; made by `open`."""

    agent: UserAgent

    def __init__(self, place: Place, identity: Identity, patience_s: float) -> None:
        self.place = place
        self.identity = identity
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._framer = StreamFramer()
        self._timer: asyncio.TimerHandle | None = None
        self._asked: dict[int, asyncio.Future[Answered]] = {}
        self._came: list[Request] = []
        self._something_came = asyncio.Event()
        self._gone = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, place: Place, identity: Identity, *, patience_s: float = 10.0) -> AsyncIterator[Phone]:
        """A phone. ``patience_s``: longest wait for anything. Raises PhoneError when the server cannot be reached."""
        phone = cls(place, identity, patience_s)
        try:
            async with asyncio.timeout(patience_s):
                await phone._connect()
        except (OSError, TimeoutError) as error:
            raise PhoneError(f"{place} cannot be reached: {reason_of(error)}") from None
        try:
            yield phone
        finally:
            phone._close()

    async def _connect(self) -> None:
        place = self.place
        if place.transport == "UDP":
            await self._loop.create_datagram_endpoint(
                lambda: cast(asyncio.DatagramProtocol, self), remote_addr=(place.host, place.port)
            )
        else:
            trust = (place.trust or ssl.create_default_context()) if place.transport == "TLS" else None
            await self._loop.create_connection(
                lambda: cast(asyncio.Protocol, self), place.host, place.port, ssl=trust,
                server_hostname=(place.name or place.host) if trust is not None else None,
            )  # fmt: skip
        local = self._transport.get_extra_info("sockname")
        self.agent = UserAgent(self.identity, place.transport, (local[0], local[1]))

    # What a phone does

    async def ask(self, request: Request) -> Answered:
        """The final response to a request. Raises PhoneError when none comes."""
        number = self.agent.begin(request, self._loop.time())
        return await self._final(number, request.method)

    async def expect(self, request: Request, *statuses: int) -> Answered:
        """The same, and PhoneError for any other status."""
        answered = await self.ask(request)
        if answered.response.status not in statuses:
            raise PhoneError(f"{_line(answered.response)} to {request.method} from {self.place}")
        return answered

    async def next(self, method: str, where: Callable[[Request], bool] = lambda _: True) -> Request:
        """The next request of that method for which that holds; those before it are passed over. Raises PhoneError."""
        passed = 0
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    for index, request in enumerate(self._came):
                        if request.method == method:
                            del self._came[index]
                            if where(request):
                                return request
                            passed += 1
                            break
                    else:
                        self._raise_if_gone()
                        self._something_came.clear()
                        await self._something_came.wait()
        except TimeoutError:
            others = f", but {passed} others" if passed else ""
            raise PhoneError(f"no such {method}{others} within {self._patience_s:g} s from {self.place}") from None

    def answer(
        self, request: Request, status: int, *, to_tag: str = "", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Answers an INVITE that `next` gave."""
        response = self.agent.answer(request, status, self._loop.time(), to_tag=to_tag, headers=headers, body=body)
        self._flush()
        return response

    def acknowledge(self, answered: Answered, ack: Request) -> None:
        """Sends the ACK for a 2xx."""
        self.agent.acknowledge(answered.number, ack)
        self._flush()

    async def _final(self, number: int, method: str) -> Answered:
        self._raise_if_gone()
        future: asyncio.Future[Answered] = self._loop.create_future()
        self._asked[number] = future
        self._flush()
        try:
            async with asyncio.timeout(self._patience_s):
                return await future
        except TimeoutError:
            raise PhoneError(f"no answer to {method} within {self._patience_s:g} s from {self.place}") from None
        finally:
            del self._asked[number]

    def _raise_if_gone(self) -> None:
        if self._gone:
            raise PhoneError(self._gone)

    # Between socket and agent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._lost(f"{self.place} has closed the connection")

    def error_received(self, exc: Exception) -> None:
        """Called by asyncio."""
        self._lost(f"{self.place} cannot be reached: {reason_of(exc)}")

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Called by asyncio."""
        if data.strip():
            self._received(data)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            for item in self._framer.feed(data):
                if item is KeepAlive.PING:
                    self._transport.write(b"\r\n")
                elif isinstance(item, bytes):
                    self._received(item)
        except FramingError as error:
            self._lost(f"{self.place} sends what is no SIP: {error.reason}")
            self._transport.abort()

    def _received(self, data: bytes) -> None:
        try:
            message = parse_message(data)
        except SipParseError as error:
            self._lost(f"{self.place} sends what is no SIP: {error.reason}")
            return
        self.agent.receive(message, self._loop.time())
        self._flush()

    def _lost(self, why: str) -> None:
        """Nothing more will come; who waits is told."""
        self._gone = self._gone or why
        for future in self._asked.values():
            if not future.done():
                future.set_exception(PhoneError(why))
        self._something_came.set()

    def _flush(self) -> None:
        """Sends what is to be sent, tells what happened, and looks again when something is due."""
        for event in self.agent.take_events():
            if isinstance(event, Asked):
                self._take(event.request)
            elif isinstance(event, Answered):
                future = self._asked.get(event.number)
                if event.response.status >= 200 and future is not None and not future.done():
                    future.set_result(event)
            elif isinstance(event, Unanswered) and event.number in self._asked:
                self._asked[event.number].set_exception(PhoneError(f"no answer at all from {self.place}"))
        for data in self.agent.take_outgoing():
            if self.place.transport == "UDP":
                self._transport.sendto(data)
            else:
                self._transport.write(data)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self.agent.deadline, self._expire) if self.agent.deadline < inf else None

    def _take(self, request: Request) -> None:
        if request.method in _TAKEN:
            self.agent.answer(request, 200, self._loop.time())
        elif request.method not in _LEFT_OPEN:
            self.agent.answer(request, 501, self._loop.time())
        self._came.append(request)
        self._something_came.set()

    def _expire(self) -> None:
        self.agent.expire(self._loop.time())
        self._flush()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()


def _line(response: Response) -> str:
    """A response for people, with what it says of itself beyond the status."""
    more = response.get("Warning") or response.get("Reason") or response.get("ms-diagnostics") or ""
    return f"{response.status} {response.reason}{f' ({more[:120]})' if more else ''}"
