"""The data plane in Rust (native/relay): a thread of its own moves the packets of clients on UDP.

The thread reads the UDP ports that clients send to and the relay ports of their allocations. What it does not forward it
hands over in batches: requests, DTLS, and whatever is nobody's. Clients on TCP, TLS and DTLS are served by another plane, as
their bytes pass through Python anyway; between the two planes packets take the way through the kernel.

The server's changes are in force when the methods here return, so before a client has the answer that tells it of them.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, Literal, Protocol

from parley.stun.addresses import Address
from parley.stun.ms.server import MsShell
from parley.stun.turn.allocations import Allocation, Channel, Dialect, Relay, Traffic, Transport
from parley.stun.turn.forwarding import Outgoing
from parley.stun.turn.plane import DataPlane, RelayPorts

logger = logging.getLogger(__name__)

Deliver = Callable[[bytes, tuple[str, int]], None]
"""Takes a datagram that is the server's business, and its source."""
Moved = tuple[int, int, int, int, int, float]


class NativePathMissing(Exception):
    """The configuration wants the native packet path, and it is not there."""


def load_native(wanted: Literal["auto", "native", "python"]) -> ModuleType | None:
    """The module that ``make native`` installs; None, and a line in the log, when it is not there.

    Raises NativePathMissing when nothing else will do.
    """
    if wanted == "python":
        return None
    try:
        return importlib.import_module("parley_relay")
    except ImportError as error:
        if wanted == "native":
            raise NativePathMissing("avedge.plane is native, and the module parley_relay is not installed") from error
        logger.warning("the relay works in Python, as its native packet path cannot be loaded: %s", error)
        return None


class OtherPlane(DataPlane, MsShell, Protocol):
    """What moves the packets that the thread does not."""


class NativePlane:
    """See `parley.stun.turn.plane.DataPlane`. Relay handles are bound, non-blocking sockets."""

    name = "native"

    def __init__(
        self, module: ModuleType, ports: RelayPorts, others: OtherPlane, hosts: Mapping[str, str], guarded: Iterable[str],
        relay_ports: range,
    ) -> None:  # fmt: skip
        """``others``: the plane of clients that are not on UDP; ``hosts``: advertised relay addresses by bound ones;
        ``guarded``: own addresses of which only relay ports may be reached, see `parley.stun.turn.peers.PeerPolicy`.
        """
        self._ports = ports
        self._others = others
        self._thread: Any = module.RelayThread(list(hosts.items()), list(guarded), (relay_ports[0], relay_ports[-1]))
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[Address, int] = {}
        self._deliver: list[Deliver] = []
        self._numbers: dict[Allocation, int] = {}
        self._told: dict[str, int] = {}
        self._loop.add_reader(self._thread.control_fd(), self._take_control)

    def listen(self, sock: socket.socket, local: Address, deliver: Deliver) -> None:
        """Begins to read a UDP port that clients send to: bound to ``local``, non-blocking, open until `stop`."""
        self._listeners[local] = self._thread.listen(sock.fileno())
        self._deliver.append(deliver)

    def stop(self) -> None:
        """Ends the thread; the listeners may be closed then."""
        self._loop.remove_reader(self._thread.control_fd())
        self._thread.stop()

    def open(self, allocation: Allocation) -> None:
        """Begins to move packets of an allocation."""
        flow = allocation.flow
        listener = self._listeners.get(flow.server) if flow.transport is Transport.UDP else None
        if listener is None or any(relay.stream for relay in allocation.relays):
            self._others.open(allocation)
            return
        key = allocation.key if allocation.dialect is Dialect.MS_TURN else None
        relays = [(relay.handle.fileno(), *relay.advertised, relay.dont_fragment) for relay in allocation.relays]
        self._numbers[allocation] = self._thread.open(listener, flow.client, key, relays, float(allocation.rate))

    def permit(self, allocation: Allocation, host: str) -> None:
        """A permission is new or lasts longer."""
        number = self._numbers.get(allocation)
        if number is None:
            self._others.permit(allocation, host)
        else:
            self._thread.permit(number, host, allocation.permissions[host])

    def bind(self, allocation: Allocation, channel: Channel) -> None:
        """A channel is new or lasts longer."""
        number = self._numbers.get(allocation)
        if number is None:
            self._others.bind(allocation, channel)
        else:
            self._thread.bind(number, channel.number, channel.peer, channel.expires_at)

    def set_destination(self, allocation: Allocation, previous: Address | None) -> None:
        """The active destination has changed."""
        number = self._numbers.get(allocation)
        if number is None:
            self._others.set_destination(allocation, previous)
        else:
            self._thread.set_destination(number, allocation.destination)

    def transmit(self, allocation: Allocation, outgoing: Outgoing) -> None:
        """Sends the first packet to a peer; see `parley.stun.ms.server.MsShell`."""
        number = self._numbers.get(allocation)
        if number is None:
            self._others.transmit(allocation, outgoing)
        else:
            self._thread.send(number, *outgoing[1:])

    def retire(self, allocation: Allocation, relay: Relay) -> None:
        """Closes one relay of two."""
        number = self._numbers.get(allocation)
        if number is None:
            self._others.retire(allocation, relay)
        else:
            self._thread.retire(number, relay.advertised)
            self._ports.close(relay)

    def traffic(self, allocation: Allocation) -> Traffic:
        """What has been moved so far; ``allocation.traffic`` is brought up to it."""
        number = self._numbers.get(allocation)
        if number is None:
            return self._others.traffic(allocation)
        return _put(self._thread.traffic(number), allocation.traffic)

    def close(self, allocation: Allocation) -> None:
        """Ends an allocation."""
        number = self._numbers.pop(allocation, None)
        if number is None:
            self._others.close(allocation)
            return
        _put(self._thread.close(number), allocation.traffic)
        for relay in allocation.relays:
            self._ports.close(relay)

    def new_drops(self) -> dict[str, int]:
        """Packets dropped since the last call, by reason."""
        drops: dict[str, int] = self._thread.drops()
        new = {reason: count - self._told.get(reason, 0) for reason, count in drops.items()}
        self._told = drops
        return new

    def _take_control(self) -> None:
        for listener, host, port, data in self._thread.take_control():
            self._deliver[listener](data, (host, port))


def _put(moved: Moved, traffic: Traffic) -> Traffic:
    traffic.sent_packets, traffic.sent_bytes, traffic.received_packets, traffic.received_bytes = moved[:4]
    traffic.dropped_packets = moved[4]
    return traffic
