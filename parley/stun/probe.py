"""A TURN client that looks whether a server works: Binding, an allocation, packets through it (RFC 8489, RFC 8656).

It is made for tests of an installation, by people and by the edge itself: `parley.stun.turn.client.TurnClient` on sockets,
with short patience. What it has been given it keeps alive while it is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any, Final, TypeVar, cast

from parley.stun.addresses import Address
from parley.stun.codes import ErrorCode
from parley.stun.dtls import DtlsLink
from parley.stun.errors import StunError, StunParseError
from parley.stun.framing import StreamFramer
from parley.stun.turn.allocations import Transport
from parley.stun.turn.client import TurnClient
from parley.stun.turn.events import (
    Allocated,
    ChannelBound,
    ClientEvent,
    Failed,
    Mapped,
    Received,
    Redirected,
    Refreshed,
    Released,
)
from parley.stun.turn.transactions import Session

_PATIENCE_S: Final = 5.0
_CONNECT_S: Final = 5.0

EventT = TypeVar("EventT", bound=ClientEvent)


class ProbeError(StunError):
    """The server did not do what it was asked; the text says what."""


class _Link(asyncio.DatagramProtocol, asyncio.Protocol):
    """The transport of a probe, datagrams or a stream."""

    def __init__(self, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._framer = StreamFramer()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost("the server has closed the connection")

    def error_received(self, exc: Exception) -> None:
        self._lost(f"the server cannot be reached: {getattr(exc, 'strerror', None) or exc}")

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._receive(data)

    def data_received(self, data: bytes) -> None:
        self._framer.feed(data)
        try:
            for message in self._framer.messages():
                self._receive(message)
        except StunParseError:
            self._transport.abort()

    def send(self, data: bytes) -> None:
        if isinstance(self._transport, asyncio.DatagramTransport) or hasattr(self._transport, "sendto"):
            self._transport.sendto(data)
        else:
            self._transport.write(data)

    def pause(self) -> None:
        self._transport.pause_reading()

    def close(self) -> None:
        self._transport.abort()


class Probe:
    """One client of one server; made by `open`."""

    def __init__(self, transport: Transport) -> None:
        self._stream = transport.is_stream
        self._link: _Link | DtlsLink = _Link(self._received, self._lost)
        self._loop = asyncio.get_running_loop()
        self._core = TurnClient(Session(), stream=self._stream)
        self._timer: asyncio.TimerHandle | None = None
        self._happened: asyncio.Queue[ClientEvent | str] = asyncio.Queue()
        self._peer: Address | None = None
        self.relayed: Address | None = None
        self.on_data: Callable[[bytes], None] = lambda _: None
        """Takes the payload that comes on the bound channel."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, server: Address, transport: Transport = Transport.UDP, *, tls: ssl.SSLContext | None = None, name: str = "",
        local: str | None = None,
    ) -> AsyncIterator[Probe]:  # fmt: skip
        """A probe. ``name``: that the certificate must have; ``local``: the address it sends from. Raises OSError."""
        probe = cls(transport)
        loop, source = asyncio.get_running_loop(), (local, 0) if local is not None else None
        if transport is Transport.DTLS:
            link = DtlsLink(probe._received, probe._lost, tls or ssl.create_default_context(), name or server.host)
            probe._link = link
            await loop.create_datagram_endpoint(lambda: link, local_addr=source, remote_addr=(server.host, server.port))
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await link.established
            except BaseException:
                link.close()
                raise
        elif transport is Transport.UDP:
            await loop.create_datagram_endpoint(
                lambda: cast(asyncio.DatagramProtocol, probe._link),
                local_addr=source,
                remote_addr=(server.host, server.port),
            )
        else:
            context = (tls or ssl.create_default_context()) if transport is Transport.TLS else None
            async with asyncio.timeout(_CONNECT_S):
                await loop.create_connection(
                    lambda: cast(asyncio.Protocol, probe._link), server.host, server.port, ssl=context,
                    server_hostname=(name or server.host) if context is not None else None, local_addr=source,
                )  # fmt: skip
        try:
            yield probe
        finally:
            probe._stop_timer()
            probe._link.close()

    async def binding(self) -> Address:
        """Our address as the server sees it. Raises ProbeError."""
        self._core.ask_address(self._loop.time())
        return (await self._next(Mapped)).address

    async def allocate(self, username: str, password: str) -> Address:
        """A relayed address. Raises ProbeError."""
        session = Session(username, password)
        self._core = TurnClient(session, stream=self._stream)
        self._core.allocate(self._loop.time())
        granted = await self._next(Allocated)
        if not session.key:
            raise ProbeError("the server gives a relay to anybody, without credentials")
        self.relayed = granted.relayed[0]
        return self.relayed

    async def refresh(self) -> int:
        """Prolongs the allocation; the seconds it is good for. Raises ProbeError."""
        self._core.refresh(self._loop.time())
        return (await self._next(Refreshed)).lifetime

    async def bind(self, peer: Address) -> None:
        """Binds the channel to a peer, which permits it as well. Raises ProbeError."""
        self._core.bind_channel(peer, self._loop.time())
        await self._next(ChannelBound)
        self._peer = peer

    def send(self, payload: bytes) -> None:
        """Sends a packet to the peer of the channel, which has been bound."""
        assert self._peer is not None
        self._link.send(self._core.send(self._peer, payload))

    def pause(self) -> None:
        """Reads no more from a stream."""
        assert isinstance(self._link, _Link)
        self._link.pause()

    async def release(self) -> None:
        """Gives the allocation back. Raises ProbeError."""
        self._core.release(self._loop.time())
        await self._next(Released)
        self.relayed = None

    async def _next(self, kind: type[EventT]) -> EventT:
        """The answer to what has just been asked. Raises ProbeError for a refusal, and for none."""
        self._flush()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not isinstance(event := await self._happened.get(), kind):
                    if isinstance(event, str):
                        raise ProbeError(event)
                    if problem := _problem(event):
                        raise ProbeError(problem)
        except TimeoutError:
            raise ProbeError("the server does not answer") from None
        return event

    def _received(self, data: bytes) -> None:
        self._core.receive(data, self._loop.time())
        self._flush()

    def _lost(self, why: str) -> None:
        self._stop_timer()
        self._happened.put_nowait(why)

    def _flush(self) -> None:
        """Sends what is to be sent, tells what happened, and looks again when something is due."""
        for data in self._core.take_outgoing():
            self._link.send(data)
        for event in self._core.take_events():
            if isinstance(event, Received):
                self.on_data(event.payload)
            else:
                self._happened.put_nowait(event)
        self._stop_timer()
        if self._core.deadline < inf:
            self._timer = self._loop.call_at(self._core.deadline, self._expire)

    def _expire(self) -> None:
        self._core.expire(self._loop.time())
        self._flush()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _problem(event: ClientEvent) -> str:
    """What is wrong, as the server says it; "" for an event that comes late and tells of nothing."""
    if isinstance(event, Redirected):
        return f"the server refuses: 300 use {event.server}"
    if not isinstance(event, Failed):
        return ""
    hint = " (wrong user name or password?)" if event.code == ErrorCode.UNAUTHENTICATED else ""
    return f"the server refuses: {event}{hint}"
