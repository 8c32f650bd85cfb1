"""SIP over TCP and TLS.

One small object for each connection and one sweep for all: no task and no timer of its own, so that ten thousand idle
phones cost little. A connection is closed when it sends too slowly, is silent too long, does not read its answers, or sends
what is no SIP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter as Tally
from typing import Any

from parley.platform.clock import Clock
from parley.sip.errors import FramingError
from parley.sip.framing import KeepAlive, StreamFramer
from parley.sip.limits import Limits
from services.frontend.config import LimitsConfig
from services.frontend.flows import Flow, Flows
from services.frontend.limits import refused
from services.frontend.transports.sink import MessageSink

logger = logging.getLogger(__name__)


class Connections:
    """What all stream transports count together."""

    def __init__(self, limits: LimitsConfig, clock: Clock) -> None:
        self.limits = limits
        self.clock = clock
        self.framing = Limits(
            message=limits.message_bytes, head=min(32_768, limits.message_bytes), body=limits.message_bytes
        )
        self._by_address: Tally[str] = Tally()
        self._total = 0

    def enter(self, address: str) -> bool:
        """One more connection of an address; False when that is one too many."""
        if self._total >= self.limits.connections:
            refused("connections")
            return False
        if self._by_address[address] >= self.limits.connections_per_address:
            refused("connections_per_address")
            return False
        self._total += 1
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One less."""
        self._total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class StreamFlow(Flow, asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_connections",
        "_counted",
        "_flows",
        "_framer",
        "_paused",
        "_sink",
        "_transport",
        "_trusted_names",
    )

    def __init__(
        self,
        transport: str,
        flows: Flows,
        sink: MessageSink,
        connections: Connections,
        trusted_names: frozenset[str],
    ) -> None:
        super().__init__(flows.next_id(), transport, ("", 0), ("", 0))
        self._flows = flows
        self._sink = sink
        self._connections = connections
        self._framer = StreamFramer(connections.framing)
        self._transport: asyncio.Transport | None = None
        self._counted = False
        self._paused = False
        self._trusted_names = trusted_names

    def connection_made(self, transport: Any) -> None:
        """Counts the connection and takes it in."""
        peer = transport.get_extra_info("peername") or ("", 0)
        self.remote = (peer[0], peer[1])
        self.local = (transport.get_extra_info("sockname") or ("", 0))[:2]
        if not self._connections.enter(self.remote[0]):
            transport.abort()
            return
        self._counted = True
        self._transport = transport
        transport.set_write_buffer_limits(high=self._connections.limits.write_buffer_bytes)
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._trusted_names:
            self.trusted = bool(self._trusted_names & certificate_names(transport.get_extra_info("peercert")))
        self.last_seen = self._connections.clock.monotonic()
        self._flows.add(self)

    def data_received(self, data: bytes) -> None:
        """Cuts what came into messages."""
        self.last_seen = now = self._connections.clock.monotonic()
        try:
            items = self._framer.feed(data, now)
        except FramingError as error:
            self._sink.on_framing_error(error, self)
            self.close()
            return
        for item in items:
            if isinstance(item, bytes):
                self.seen_first = now
                self._sink.on_message(item, self)
            elif item is KeepAlive.PING:
                self.seen_first = now
                if not self.silent:
                    self.send(b"\r\n")

    def pause_writing(self) -> None:
        """The client does not read what it is sent."""
        refused("slow_reader")
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Takes the connection out."""
        self._transport = None
        if self._counted:
            self._counted = False
            self._connections.leave(self.remote[0])
            self._flows.remove(self)
            self._sink.on_closed(self)

    def send(self, data: bytes) -> bool:
        """Writes a message."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data if self.seal is None else self.seal.sealed(data))
        return True

    def close(self) -> None:
        """Sends what waits, and closes."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, now: float) -> str:
        """Why the connection should be closed; "" when it should not."""
        limits = self._connections.limits
        begun = self._framer.since
        if begun is not None and now - begun > limits.message_seconds:
            return "slow_sender"
        if not self.seen_first and now - self.last_seen > limits.first_message_seconds:
            return "silent"
        return "idle" if now - self.last_seen > limits.idle_seconds else ""


class StreamListener:
    """One TCP or TLS port."""

    def __init__(
        self,
        transport: str,
        flows: Flows,
        sink: MessageSink,
        connections: Connections,
        *,
        context: ssl.SSLContext | None = None,
        trusted_names: frozenset[str] = frozenset(),
    ) -> None:
        self._transport = transport
        self._flows = flows
        self._sink = sink
        self._connections = connections
        self._context = context
        self._trusted_names = trusted_names
        self._server: asyncio.Server | None = None
        self.local: tuple[str, int] = ("", 0)

    async def open(self, host: str, port: int) -> None:
        """Binds the port. Raises OSError."""
        extra: dict[str, Any] = {}
        if self._context is not None:
            extra = {
                "ssl": self._context,
                "ssl_handshake_timeout": self._connections.limits.tls_handshake_seconds,
                "ssl_shutdown_timeout": 2.0,
            }
        self._server = await asyncio.get_running_loop().create_server(
            lambda: StreamFlow(self._transport, self._flows, self._sink, self._connections, self._trusted_names),
            host, port, backlog=4096, **extra,
        )  # fmt: skip
        self.local = (host, self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Takes no further connections."""
        if self._server is not None:
            self._server.close()
            self._server = None


def sweep(flows: Flows, now: float) -> int:
    """Closes connections that are overdue; how many. Called every few seconds; ``now`` in monotonic seconds."""
    closed = 0
    for flow in flows:
        if isinstance(flow, StreamFlow):
            why = flow.overdue(now)
            if why:
                refused(why)
                flow.abort()
                closed += 1
    return closed


def certificate_names(certificate: Any) -> frozenset[str]:
    """DNS names and common name of a certificate, as the ssl module gives it, in lower case."""
    if not certificate:
        return frozenset()
    names = {value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    for part in certificate.get("subject", ()):
        names |= {value.lower() for kind, value in part if kind == "commonName"}
    return frozenset(names)
