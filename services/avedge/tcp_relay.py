"""TCP between relays and peers, for clients on TCP and TLS (RFC 6062): dials, accepts, and joins two streams into one.

Of a connection to a peer no more than the first bytes are read before its client has come for it, and after that each end is
read only while the other takes what comes: nothing is dropped, whoever is slow makes the other side wait, and what waits
here is bounded by `EdgeLimits.buffer_bytes` each way. An end that only stops sending (a half-close) is passed on as such
where both ends can say it, which TLS cannot.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from enum import Flag, auto
from typing import Final, Protocol, cast

from parley.stun.addresses import Address, Family
from parley.stun.turn.allocations import Allocation, Flow, Relay
from parley.stun.turn.shell import PeerConnection
from services.avedge.carriers import Carriers
from services.avedge.metrics import DROPPED
from services.avedge.planes.python import Own
from services.avedge.streams import StreamConnection

_ACCEPTS: Final = 16
_LINGER_S: Final = 30.0
_BURST_S: Final = 0.5

_dropped_peer = DROPPED.labels("peer_connection")


class RelayServer(Protocol):
    """Who decides about connections, see `parley.stun.turn.server.TurnServer`."""

    def dialled(self, connection: PeerConnection, connected: bool, now: float) -> None:
        """What became of a dial."""

    def accepted(self, allocation: Allocation, peer: Address, now: float) -> PeerConnection | None:
        """A peer has connected; None when it must be hung up."""

    def disconnected(self, connection: PeerConnection) -> None:
        """A connection is closed."""


class _Hold(Flag):
    """Why an end is not read."""

    UNJOINED = auto()
    FULL = auto()
    PACED = auto()


class Pace:
    """Keeps a stream within a rate, in the long run; half a second's bytes may come at once."""

    def __init__(self, rate: int) -> None:
        """``rate``: bytes per second, 0 for any number."""
        self._rate = rate
        self._paid_until = 0.0

    def wait(self, size: int, now: float) -> float:
        """Seconds to wait for more after ``size`` bytes came at the monotonic time ``now``."""
        if not self._rate:
            return 0.0
        self._paid_until = max(self._paid_until, now - _BURST_S) + size / self._rate
        return max(0.0, self._paid_until - now)


class _End(asyncio.Protocol):
    """One end of a stream: a peer's connection, or a client's data connection."""

    def __init__(self, buffer: int, clock: Callable[[], float], lost: Callable[[], None]) -> None:
        self._buffer = buffer
        self._clock = clock
        self._lost = lost
        self._other: _End | None = None
        self._took: Callable[[int], None] = lambda _: None
        self._pace = Pace(0)
        self._holds = _Hold.UNJOINED
        self._early = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._finished = False

    def join(self, other: _End, pace: Pace, took: Callable[[int], None]) -> None:
        """What comes here goes to ``other``, at that pace; ``took`` is told of its bytes."""
        self._other, self._pace, self._took = other, pace, took
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)
        self._release(_Hold.UNJOINED)

    def close(self) -> None:
        """Closes it; what waits is sent first, for a while."""
        if self._transport is not None and self._timer is None:
            self._transport.close()
            self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._buffer)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        other = self._other
        if other is None:
            # Not every event loop lets a transport be paused before its first bytes.
            self._early += data
            self._hold(_Hold.UNJOINED)
            return
        if other._transport is None or other._transport.is_closing():
            return
        self._took(len(data))
        other._transport.write(data)
        wait = self._pace.wait(len(data), self._clock())
        if wait and _Hold.PACED not in self._holds:
            self._hold(_Hold.PACED)
            asyncio.get_running_loop().call_later(wait, self._release, _Hold.PACED)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._other is not None:
            self._other._hold(_Hold.FULL)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._other is not None:
            self._other._release(_Hold.FULL)

    def eof_received(self) -> bool:
        """See asyncio.Protocol: whether the other direction stays open."""
        other = self._other
        if other is None or other._finished or self._transport is None or other._transport is None:
            return False
        if other._transport.is_closing() or not (self._transport.can_write_eof() and other._transport.can_write_eof()):
            return False
        self._finished = True
        other._transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._lost()

    def _hold(self, why: _Hold) -> None:
        self._holds |= why
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _release(self, why: _Hold) -> None:
        self._holds &= ~why
        if not self._holds and not self._finished and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class _Line:
    """What there is of one connection: a dial, the peer's end, and the client's."""

    def __init__(self) -> None:
        self.dialling: asyncio.Task[None] | None = None
        self.ends: list[_End] = []


class TcpRelay:
    """See `parley.stun.turn.shell.Shell`; made before the server that it works for, see `serve`."""

    def __init__(self, carriers: Carriers, own: Own, buffer: int, clock: Callable[[], float]) -> None:
        """``buffer``: bytes that may wait for a slow end; ``clock``: monotonic seconds."""
        self._carriers = carriers
        self._own = own
        self._buffer = buffer
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._server: RelayServer | None = None
        self._lines: dict[PeerConnection, _Line] = {}
        self._paces: dict[Allocation, tuple[Pace, Pace]] = {}
        self._listening: set[Relay] = set()
        self._accepting: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._lines)

    def serve(self, server: RelayServer) -> None:
        """Who decides from now on."""
        self._server = server

    @property
    def server(self) -> RelayServer:
        """Who decides."""
        assert self._server is not None
        return self._server

    def close(self) -> None:
        """Gives up what has only begun; allocations are ended before."""
        for task in self._accepting:
            task.cancel()

    def listen(self, allocation: Allocation, relay: Relay) -> None:
        """Begins to accept peers on a relay, whose socket listens."""
        self._paces.setdefault(allocation, (Pace(allocation.rate), Pace(allocation.rate)))
        self._listening.add(relay)
        self._loop.add_reader(relay.handle.fileno(), self._accept, allocation, relay)

    def ignore(self, allocation: Allocation, relay: Relay) -> None:
        """Accepts no more; the socket is closed next."""
        if relay.handle.fileno() >= 0:
            self._loop.remove_reader(relay.handle.fileno())
        self._listening.discard(relay)
        if self._listening.isdisjoint(allocation.relays):
            self._paces.pop(allocation, None)

    def send(self, flow: Flow, data: bytes) -> None:
        """Sends a control message to a client."""
        self._carriers.send(flow, data)

    def dial(self, connection: PeerConnection) -> None:
        """Begins to connect the relay to the peer."""
        line = self._lines[connection] = _Line()
        line.dialling = self._loop.create_task(self._dial(connection, line))

    def splice(self, connection: PeerConnection, flow: Flow) -> None:
        """Makes the peer's connection and a client's data connection one stream."""
        line, client = self._lines.get(connection), self._carriers.of(flow)
        paces = self._paces.get(connection.allocation)
        if line is None or paces is None or not isinstance(client, StreamConnection) or not client.is_open:
            self._lost(connection)
            return
        traffic = connection.allocation.traffic

        def sent(size: int) -> None:
            traffic.sent_bytes += size

        def received(size: int) -> None:
            traffic.received_bytes += size

        peer_end, client_end = line.ends[0], self._end(connection)
        line.ends.append(client_end)
        client.hand_over(client_end)
        client_end.join(peer_end, paces[0], sent)
        peer_end.join(client_end, paces[1], received)

    def hang_up(self, connection: PeerConnection) -> None:
        """Closes the connection to the peer, or stops dialling, and closes the client's data connection with it."""
        line = self._lines.pop(connection, None)
        if line is None:
            return
        if line.dialling is not None:
            line.dialling.cancel()
        for end in line.ends:
            end.close()

    def _end(self, connection: PeerConnection) -> _End:
        return _End(self._buffer, self._clock, lambda: self._lost(connection))

    def _lost(self, connection: PeerConnection) -> None:
        """One end is gone, and the other goes with it."""
        if connection in self._lines:
            self.hang_up(connection)
            self.server.disconnected(connection)

    async def _dial(self, connection: PeerConnection, line: _Line) -> None:
        sock: socket.socket | None = None
        end = self._end(connection)
        try:
            sock = _from_port_of(connection.relay)
            await self._loop.sock_connect(sock, self._own.reached_at(connection.peer))
            await self._loop.connect_accepted_socket(lambda: end, sock)
        except OSError:
            self._lines.pop(connection, None)
        else:
            line.ends.append(end)
        finally:
            if not line.ends and sock is not None:
                sock.close()
        line.dialling = None
        self.server.dialled(connection, bool(line.ends), self._clock())

    def _accept(self, allocation: Allocation, relay: Relay) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, source = relay.handle.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._take(allocation, relay, sock, self._own.known_as(source)))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _take(self, allocation: Allocation, relay: Relay, sock: socket.socket, peer: Address) -> None:
        """Asks what to do with a peer that has connected, once its connection can be joined to another."""
        taken: PeerConnection | None = None

        def lost() -> None:
            if taken is not None:
                self._lost(taken)

        end = _End(self._buffer, self._clock, lost)
        try:
            await self._loop.connect_accepted_socket(lambda: end, sock)
        except OSError:
            sock.close()
            return
        if relay in self._listening:
            taken = self.server.accepted(allocation, peer, self._clock())
        if taken is None:
            _dropped_peer.inc()
            end.close()
            return
        line = self._lines[taken] = _Line()
        line.ends.append(end)


def _from_port_of(relay: Relay) -> socket.socket:
    """A socket that connects from the relay's port, beside the one that listens there. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if relay.family is Family.IPV6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(relay.local)
    except OSError:
        sock.close()
        raise
    return sock
