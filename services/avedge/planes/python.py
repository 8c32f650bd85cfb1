"""The data plane in Python: always there, and the reference that others are held to.

One path for each allocation: the client's carrier hands it what the client sends, the relay sockets are drained many
datagrams at a wake-up. When the peer is the relay port of another allocation of this worker, the payload goes from one path
to the other without a socket in between.

The edge may be known to peers by other addresses than its sockets have (1:1 NAT). A client names such a peer by its
advertised address; packets that must go through the kernel then go to the bound one, and what comes from a bound relay port
is shown to the client as from the advertised one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Protocol

from parley.stun.addresses import Address
from parley.stun.ms import forwarding as ms_forwarding
from parley.stun.ms.message import is_ms_message
from parley.stun.turn import forwarding
from parley.stun.turn.allocations import Allocation, Channel, Dialect, Relay, Traffic
from parley.stun.turn.peers import PeerPolicy
from parley.stun.turn.plane import RelayPorts
from services.avedge.carriers import Carriers
from services.avedge.metrics import DROPPED

_DRAIN: Final = 64
_READ: Final = 65_536
_BURST_S: Final = 0.5

_dropped_peer = DROPPED.labels("not_permitted")
_dropped_client = DROPPED.labels("not_relayed")
_dropped_rate = DROPPED.labels("rate")
_dropped_relay = DROPPED.labels("relay_send_queue")

FromClient = Callable[[Allocation, bytes, float], "forwarding.Outgoing | None"]


class Own:
    """Our addresses: as they are bound, and as others know them."""

    def __init__(self, advertised_by_local: dict[str, str], relay_ports: range) -> None:
        self.to_local = {advertised: local for local, advertised in advertised_by_local.items() if local != advertised}
        self._to_advertised = {local: advertised for local, advertised in advertised_by_local.items() if local != advertised}
        self._relay_ports = relay_ports

    def reached_at(self, peer: Address) -> Address:
        """Where packets to a peer go."""
        local = self.to_local.get(peer.host)
        return peer if local is None else Address(local, peer.port)

    def known_as(self, source: tuple[str, int]) -> Address:
        """What a client calls a peer that packets come from."""
        host, port = source[0], source[1]
        advertised = self._to_advertised.get(host)
        return Address(host if advertised is None or port not in self._relay_ports else advertised, port)


class _Bucket:
    """Bytes that may pass in one direction."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._tokens = rate * _BURST_S
        self._at = now

    def take(self, size: int, now: float) -> bool:
        self._tokens = min(self._rate * _BURST_S, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < size:
            return False
        self._tokens -= size
        return True


class _Way:
    """The path of one allocation."""

    __slots__ = ("_allocation", "_padded", "_plane", "_received", "_send", "_sent", "_traffic")

    def __init__(self, plane: PythonPlane, allocation: Allocation, send: Callable[[bytes], bool], now: float) -> None:
        self._plane = plane
        self._allocation = allocation
        self._send = send
        self._padded = allocation.flow.transport.is_stream
        self._traffic = allocation.traffic
        self._sent = _Bucket(allocation.rate, now) if allocation.rate else None
        self._received = _Bucket(allocation.rate, now) if allocation.rate else None

    def from_client(self, data: bytes, now: float) -> bool:
        """Forwards what is data; see `services.avedge.carriers.Path`."""
        allocation = self._allocation
        if data[:1] and 0x40 <= data[0] < 0x80:
            outgoing = forwarding.from_channel(allocation, data, now)
        elif data[:2] == forwarding.SEND_INDICATION:
            outgoing = forwarding.from_indication(allocation, data, self._plane.peers, now)
        else:
            return False
        if outgoing is None:
            self._traffic.dropped_packets += 1
            _dropped_client.inc()
        else:
            self.forward(*outgoing, now)
        return True

    def forward(self, relay: Relay, peer: Address, payload: bytes, now: float) -> None:
        """Sends a payload to a peer, within the rate."""
        traffic = self._traffic
        size = len(payload)
        if self._sent is not None and not self._sent.take(size, now):
            traffic.dropped_packets += 1
            _dropped_rate.inc()
            return
        other = self._plane.ways.get(peer)
        if other is not None:
            traffic.sent_packets += 1
            traffic.sent_bytes += size
            other.from_peer(relay.advertised, payload, now)
            return
        try:
            relay.handle.sendto(payload, self._plane.own.reached_at(peer))
        except BlockingIOError:
            traffic.dropped_packets += 1
            _dropped_relay.inc()
        except OSError:
            traffic.dropped_packets += 1  # there is no way to that peer, or the packet is too large for it
        else:
            traffic.sent_packets += 1
            traffic.sent_bytes += size

    def from_peer(self, peer: Address, payload: bytes, now: float) -> None:
        """Takes a packet of a peer to the client."""
        traffic = self._traffic
        message = self._to_client(peer, payload, now)
        if message is None:
            traffic.dropped_packets += 1
            _dropped_peer.inc()
            return
        size = len(payload)
        if self._received is not None and not self._received.take(size, now):
            traffic.dropped_packets += 1
            _dropped_rate.inc()
        elif self._send(message):
            traffic.received_packets += 1
            traffic.received_bytes += size
        else:
            traffic.dropped_packets += 1

    def _to_client(self, peer: Address, payload: bytes, now: float) -> bytes | None:
        return forwarding.to_client(self._allocation, peer, payload, now, padded=self._padded)

    def read(self, sock: socket.socket) -> None:
        """Drains a relay socket."""
        now, own = self._plane.clock(), self._plane.own
        receive = sock.recvfrom
        for _ in range(_DRAIN):
            try:
                payload, source = receive(_READ)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                if sock.fileno() < 0:
                    return
                continue  # an ICMP error of an earlier datagram
            self.from_peer(own.known_as(source), payload, now)


class _MsWay(_Way):
    """The path of an allocation of MS-TURN."""

    __slots__ = ()

    def from_client(self, data: bytes, now: float) -> bool:
        """Forwards what is data; a Send request to a peer without permission is for the server."""
        if not is_ms_message(data):
            outgoing = ms_forwarding.from_raw(self._allocation, data, now)
            if outgoing is None:
                self._traffic.dropped_packets += 1
                _dropped_client.inc()
                return True
        elif data[:2] == ms_forwarding.SEND_REQUEST:
            outgoing = ms_forwarding.from_send(self._allocation, data, self._plane.peers, now)
            if outgoing is None:
                return False
        else:
            return False
        self.forward(*outgoing, now)
        return True

    def _to_client(self, peer: Address, payload: bytes, now: float) -> bytes | None:
        return ms_forwarding.to_client(self._allocation, peer, payload, now, framed=self._padded)


class StreamRelays(Protocol):
    """What moves the bytes of TCP relays."""

    def listen(self, allocation: Allocation, relay: Relay) -> None:
        """Begins to accept peers on a relay, whose socket listens."""

    def ignore(self, allocation: Allocation, relay: Relay) -> None:
        """Accepts no more; the socket is closed next."""


class PythonPlane:
    """See `parley.stun.turn.plane.DataPlane`. Relay handles are bound, non-blocking sockets."""

    name = "python"

    def __init__(
        self, ports: RelayPorts, carriers: Carriers, peers: PeerPolicy, own: Own, streams: StreamRelays,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """``clock``: monotonic seconds."""
        self._streams = streams
        self.peers = peers
        self.own = own
        self.clock = clock
        self.ways: dict[Address, _Way] = {}
        """By the advertised address of a relay."""
        self._ports = ports
        self._carriers = carriers
        self._loop = asyncio.get_running_loop()

    def open(self, allocation: Allocation) -> None:
        """Begins to move packets of an allocation."""
        carrier = self._carriers.of(allocation.flow)
        if carrier is None:
            return  # its connection is gone already; the table hears of it next
        kind = _MsWay if allocation.dialect is Dialect.MS_TURN else _Way
        way = kind(self, allocation, carrier.sender(allocation.flow.client), self.clock())
        for relay in allocation.relays:
            if relay.stream:
                self._streams.listen(allocation, relay)
            else:
                self.ways[relay.advertised] = way
                self._loop.add_reader(relay.handle.fileno(), way.read, relay.handle)
        carrier.attach(allocation.flow.client, way.from_client)

    def transmit(self, allocation: Allocation, outgoing: forwarding.Outgoing) -> None:
        """Sends the first packet to a peer; see `parley.stun.ms.server.MsShell`."""
        way = self.ways.get(outgoing[0].advertised)
        if way is not None:
            way.forward(*outgoing, self.clock())

    def permit(self, allocation: Allocation, host: str) -> None:
        """Permissions are read where they are."""

    def bind(self, allocation: Allocation, channel: Channel) -> None:
        """Channels are read where they are."""

    def set_destination(self, allocation: Allocation, previous: Address | None) -> None:
        """The destination is read where it is."""

    def retire(self, allocation: Allocation, relay: Relay) -> None:
        """Closes one relay of two."""
        if relay.stream:
            self._streams.ignore(allocation, relay)
        elif relay.handle.fileno() >= 0:
            self._loop.remove_reader(relay.handle.fileno())
            self.ways.pop(relay.advertised, None)
        self._ports.close(relay)

    def traffic(self, allocation: Allocation) -> Traffic:
        """What has been moved so far."""
        return allocation.traffic

    def close(self, allocation: Allocation) -> None:
        """Ends an allocation."""
        carrier = self._carriers.of(allocation.flow)
        if carrier is not None:
            carrier.detach(allocation.flow.client)
        for relay in allocation.relays:
            self.retire(allocation, relay)
