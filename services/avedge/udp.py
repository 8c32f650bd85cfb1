"""A UDP port that clients send to: RFC TURN, MS-TURN and DTLS in any mixture.

Datagrams are drained many at a wake-up. A client that has an allocation is found by its address, and its data plane's path
is asked first; what that does not take is a control message. Nothing is kept for a source without allocation. A datagram
that the socket cannot take at once is dropped, as a network would: for media a late packet is worth no more than a lost one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from parley.stun.addresses import Address
from parley.stun.turn.allocations import Flow, Transport
from services.avedge.carriers import Path
from services.avedge.metrics import DROPPED

_DRAIN: Final = 128
_READ: Final = 65_536

_dropped_send = DROPPED.labels("client_send_queue")

Source = tuple[str, int]
"""What the socket calls a client."""


class UdpListener:
    """One socket. ``control`` is told of every datagram that no path took."""

    def __init__(
        self, sock: socket.socket, local: Address, control: Callable[[UdpListener, bytes, Source, float], None],
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """``sock``: bound and non-blocking; ``clock``: monotonic seconds."""
        self.socket = sock
        self.local = local
        self._control = control
        self._clock = clock
        self._paths: dict[Source, Path] = {}
        self._loop = asyncio.get_running_loop()
        self._reading = False

    def start(self) -> None:
        """Begins to read."""
        self._loop.add_reader(self.socket.fileno(), self._readable)
        self._reading = True

    def close(self) -> None:
        """Closes the socket."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.socket.fileno())
        self.socket.close()

    def flow_of(self, source: Source) -> Flow:
        """The five-tuple of a source."""
        return Flow(Transport.UDP, Address(source[0], source[1]), self.local)

    def attach(self, client: Address, path: Path) -> None:
        """A client has an allocation: its datagrams go to ``path`` first."""
        self._paths[client] = path

    def detach(self, client: Address) -> None:
        """It has none any more."""
        self._paths.pop(client, None)

    def sender(self, client: Address) -> Callable[[bytes], bool]:
        """A function that sends a datagram to a client, or drops it."""
        return lambda data: self.send(data, client)

    def send(self, data: bytes, to: Source) -> bool:
        """Sends a datagram, or drops it."""
        try:
            self.socket.sendto(data, to)
        except BlockingIOError:
            _dropped_send.inc()
            return False
        except OSError:
            return False  # there is no way to that client
        return True

    def take(self, data: bytes, source: Source) -> None:
        """Takes a datagram that another has read of the socket."""
        now = self._clock()
        path = self._paths.get(source)
        if path is None or not path(data, now):
            self._control(self, data, source, now)

    def _readable(self) -> None:
        receive, paths, now = self.socket.recvfrom, self._paths, self._clock()
        for _ in range(_DRAIN):
            try:
                data, source = receive(_READ)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error of an earlier datagram
            if len(source) > 2:
                source = source[:2]  # IPv6 has a flow label and a scope more
            path = paths.get(source)
            if path is None or not path(data, now):
                self._control(self, data, source, now)
                if not self._reading:
                    return
