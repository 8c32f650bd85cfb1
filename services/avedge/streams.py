"""TCP ports that clients connect to: RFC TURN, plain or inside TLS, and MS-TURN, told apart by the first bytes.

The first bytes are looked at without being taken, so the TLS library still finds its hello. A client that reads too slowly
has its packets dropped once a bounded buffer is full: what is relayed are datagrams, which may be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol, cast

from parley.stun import dialects
from parley.stun.addresses import Address
from parley.stun.errors import StunParseError
from parley.stun.framing import StreamFramer
from parley.stun.ms.framing import FrameReader, FrameType, encode_frame
from parley.stun.ms.pseudo_tls import CLIENT_HELLO_SIZE, server_hello
from parley.stun.turn.allocations import Dialect, Flow, Transport
from services.avedge.carriers import Path
from services.avedge.config import EdgeLimits
from services.avedge.metrics import DROPPED, HANDSHAKES

_ACCEPTS: Final = 64
_LOOK: Final = 64
_LOOK_AGAIN_S: Final = 0.02

_dropped_slow = DROPPED.labels("slow_reader")
_dropped_dialect = DROPPED.labels("unknown_dialect")
_dropped_connection = DROPPED.labels("connections")
_dropped_silent = DROPPED.labels("silent_connection")
_dropped_stream = DROPPED.labels("broken_stream")
_tls_done, _tls_failed = HANDSHAKES.labels("tls", "ok"), HANDSHAKES.labels("tls", "failed")


class _Gone(Exception):
    """The client went away before anything began."""


class StreamUser(Protocol):
    """Who uses the connections."""

    def connected(self, connection: StreamConnection) -> None:
        """A client is there, its TLS handshake done."""

    def received(self, connection: StreamConnection, message: bytes) -> None:
        """A message came that no path took."""

    def disconnected(self, connection: StreamConnection) -> None:
        """It is gone."""


class Admission:
    """Counts connections of one worker, in all and of each address."""

    def __init__(self, limits: EdgeLimits) -> None:
        self._limits = limits
        self._per_address: Counter[str] = Counter()
        self.total = 0

    def enter(self, host: str) -> bool:
        """Whether there is room for one more of that address; counts it."""
        if self.total >= self._limits.connections or self._per_address[host] >= self._limits.connections_per_address:
            return False
        self.total += 1
        self._per_address[host] += 1
        return True

    def leave(self, host: str) -> None:
        """One is gone."""
        self.total -= 1
        self._per_address[host] -= 1
        if self._per_address[host] <= 0:
            del self._per_address[host]


class StreamConnection(asyncio.Protocol):
    """One client; a `services.avedge.carriers.Carrier` of its flow."""

    dialect = Dialect.TURN

    def __init__(self, flow: Flow, user: StreamUser, limits: EdgeLimits, clock: Callable[[], float]) -> None:
        self.flow = flow
        self.active_at = clock()
        self._user = user
        self._limits = limits
        self._clock = clock
        self._framer = StreamFramer()
        self._path: Path | None = None
        self._stream: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether its client has an allocation, or it is one stream with a peer's connection."""
        return self._path is not None or self._stream is not None

    @property
    def is_open(self) -> bool:
        """Whether the client is still there."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._user.connected(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._stream is None:
            self._framer.feed(data)
            data = self._take_messages()
        if self._stream is not None:
            self._stream.data_received(data)

    def _take_messages(self) -> bytes:
        """What follows the message with which the connection was handed over, if it was."""
        now = self.active_at = self._clock()
        try:
            for message in self._framer.messages():
                if self._path is None or not self._path(message, now):
                    self._user.received(self, message)
                if self._stream is not None:
                    return self._framer.rest()
                if self._transport is None:
                    break
        except StunParseError:
            _dropped_stream.inc()
            self.close()
        return b""

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        if self._stream is not None:
            self._stream.connection_lost(exc)
        self._user.disconnected(self)

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        return self._stream.eof_received() if self._stream is not None else None

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._stream is not None:
            self._stream.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._stream is not None:
            self._stream.resume_writing()

    def hand_over(self, stream: asyncio.Protocol) -> None:
        """What follows the message just received is no more messages but a stream, and another's business.

        What was sent here so far goes out first.
        """
        if self._transport is not None:
            self._stream = stream
            stream.connection_made(self._transport)

    def sender(self, client: Address) -> Callable[[bytes], bool]:
        """A function that writes a message, or drops it when the client reads too slowly."""
        return self.send

    def send(self, data: bytes) -> bool:
        """Writes a message; its padding is there already."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(data) > self._limits.buffer_bytes:
            _dropped_slow.inc()
            return False
        transport.write(data)
        return True

    def reply(self, message: bytes) -> bool:
        """Writes a control message."""
        return self.send(message)

    def attach(self, client: Address, path: Path) -> None:
        """It has an allocation."""
        self._path = path

    def detach(self, client: Address) -> None:
        """It has none any more."""
        self._path = None

    def close(self) -> None:
        """Closes it; what waits is sent first, for a moment."""
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(1.0, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class MsStreamConnection(StreamConnection):
    """One client that speaks MS-TURN, in frames, perhaps after a hello that looks like TLS."""

    dialect = Dialect.MS_TURN

    def __init__(
        self, flow: Flow, user: StreamUser, limits: EdgeLimits, clock: Callable[[], float], *, greeted: bool
    ) -> None:
        """``greeted``: the client begins with the hello."""
        super().__init__(flow, user, limits, clock)
        self._reader = FrameReader()
        self._hello_left = CLIENT_HELLO_SIZE if greeted else 0

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        now = self.active_at = self._clock()
        if self._hello_left:
            size = len(data)
            data = data[self._hello_left :]
            self._hello_left = max(0, self._hello_left - size)
            if self._hello_left:
                return
            # In one write: there are clients that take it only when it comes at once.
            self.send(server_hello(secrets.token_bytes(32), secrets.token_bytes(32)))
        try:
            for kind, payload in self._reader.feed(data):
                self._frame(kind, payload, now)
                if self._transport is None:
                    return
        except StunParseError:
            _dropped_stream.inc()
            self.close()

    def _frame(self, kind: FrameType, payload: bytes, now: float) -> None:
        """Raises StunParseError for a control frame without a message, and for data that is made to look like one."""
        if dialects.is_ms_message(payload) is not (kind is FrameType.CONTROL):
            raise StunParseError("a frame holds what is not of its kind")
        if self._path is not None and self._path(payload, now):
            return
        if kind is FrameType.CONTROL:
            self._user.received(self, payload)

    def reply(self, message: bytes) -> bool:
        """Writes a control message in its frame."""
        return self.send(encode_frame(FrameType.CONTROL, message))


class StreamPort:
    """One listening socket."""

    def __init__(
        self, sock: socket.socket, local: Address, tls: Callable[[], ssl.SSLContext], user: StreamUser, admission: Admission,
        limits: EdgeLimits, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """``sock``: listening and non-blocking; ``tls``: gives the context of the certificate there is now."""
        self._socket = sock
        self._local = local
        self._tls = tls
        self._user = user
        self._admission = admission
        self._limits = limits
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._greeting: set[asyncio.Task[None]] = set()
        self._open: set[StreamConnection] = set()

    def start(self) -> None:
        """Begins to accept."""
        self._loop.add_reader(self._socket.fileno(), self._accept)

    async def close(self) -> None:
        """Closes the port and its connections."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        for task in list(self._greeting):
            task.cancel()
        await asyncio.gather(*self._greeting, return_exceptions=True)
        for connection in list(self._open):
            connection.close()

    def sweep(self, now: float) -> None:
        """Closes connections that are silent and have no allocation."""
        for connection in list(self._open):
            if now - connection.active_at > self._limits.idle_seconds and not connection.is_in_use:
                connection.close()

    def gone(self, connection: StreamConnection) -> None:
        """A connection of this port is closed."""
        if connection in self._open:
            self._open.discard(connection)
            self._admission.leave(connection.flow.client.host)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, source = self._socket.accept()
            except OSError:
                return
            client = Address(source[0], source[1])
            if not self._admission.enter(client.host):
                _dropped_connection.inc()
                sock.close()
                continue
            task = self._loop.create_task(self._greet(sock, client))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, sock: socket.socket, client: Address) -> None:
        """Finds out what the client speaks, and begins to."""
        connection: StreamConnection | None = None
        kind: dialects.Stream | None = None
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._limits.handshake_seconds):
                kind = await _look(sock)
                if kind is dialects.Stream.OTHER:
                    _dropped_dialect.inc()
                else:
                    connection = await self._begin(sock, client, kind)
        except _Gone:
            pass
        except (OSError, TimeoutError):  # an ssl.SSLError is an OSError
            if kind is dialects.Stream.TLS:
                _tls_failed.inc()
            else:
                _dropped_silent.inc()
        finally:
            if connection is None:
                sock.close()
                self._admission.leave(client.host)

    async def _begin(self, sock: socket.socket, client: Address, kind: dialects.Stream) -> StreamConnection:
        encrypted = kind is dialects.Stream.TLS
        flow = Flow(Transport.TLS if encrypted else Transport.TCP, client, self._local)
        user = _Leaving(self._user, self)
        if kind in (dialects.Stream.MS_FRAMES, dialects.Stream.MS_PSEUDO_TLS):
            greeted = kind is dialects.Stream.MS_PSEUDO_TLS
            connection: StreamConnection = MsStreamConnection(flow, user, self._limits, self._clock, greeted=greeted)
        else:
            connection = StreamConnection(flow, user, self._limits, self._clock)
        if encrypted:
            await self._loop.connect_accepted_socket(
                lambda: connection, sock, ssl=self._tls(), ssl_handshake_timeout=self._limits.handshake_seconds
            )
            _tls_done.inc()
        else:
            await self._loop.connect_accepted_socket(lambda: connection, sock)
        if not connection.is_open:
            raise _Gone  # it came and went while we waited, and nobody will tell of its end again
        self._open.add(connection)
        return connection


class _Leaving:
    """Tells the port, besides the user, that a connection is gone."""

    def __init__(self, user: StreamUser, port: StreamPort) -> None:
        self._user = user
        self._port = port
        self.connected = user.connected
        self.received = user.received

    def disconnected(self, connection: StreamConnection) -> None:
        self._port.gone(connection)
        self._user.disconnected(connection)


async def _look(sock: socket.socket) -> dialects.Stream:
    """What a stream begins with, left in it. Raises _Gone when the client has gone, OSError when its connection broke."""
    while True:
        await _readable(sock)
        with contextlib.suppress(BlockingIOError, InterruptedError):
            head = sock.recv(_LOOK, socket.MSG_PEEK)
            if not head:
                raise _Gone
            kind = dialects.stream(head)
            if kind is not None:
                return kind
        await asyncio.sleep(_LOOK_AGAIN_S)  # some bytes are there, so the socket stays readable


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock.fileno(), wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())
