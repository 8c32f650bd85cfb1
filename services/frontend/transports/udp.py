"""SIP over UDP (RFC 3261 section 18, RFC 3581, keep-alives of RFC 5626 section 3.5).

Datagrams are drained many at a wake-up. An answer that the socket cannot take at once waits in a bounded queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections import deque
from typing import Final

from parley.platform.sockets import open_udp
from parley.sip.outbound import stun_binding_response
from services.frontend.flows import UDP_BIT, Flow, Flows
from services.frontend.limits import refused
from services.frontend.transports.sink import MessageSink

_DRAIN: Final = 128
_QUEUE: Final = 4096
_BUFFER: Final = 8 * 1024 * 1024


class UdpFlow(Flow):
    """A client's address, as seen on one socket."""

    __slots__ = ("_listener", "_to")

    def __init__(self, listener: UdpListener, connection_id: int, address: tuple[str, int]) -> None:
        super().__init__(connection_id, "UDP", address[:2], listener.local)
        self._listener = listener
        self._to = address

    def send(self, data: bytes) -> bool:
        """Sends a datagram."""
        return self._listener.send(data, self._to)

    def towards(self, host: str, port: int) -> int:
        """A client that names its own address in Contact is called at that port, wherever it sends from."""
        if host != self.remote[0] or port == self.remote[1]:
            return self.connection_id
        return self._listener.flow_of((host, port)).connection_id


class UdpListener:
    """One socket."""

    def __init__(self, index: int, flows: Flows, sink: MessageSink, *, max_flows: int) -> None:
        """``index``: number of the socket, below 128; part of the numbers of its flows."""
        self._index = index
        self._flows = flows
        self._sink = sink
        self._max_flows = max_flows
        self._socket: socket.socket | None = None
        self._by_address: dict[tuple[str, int], UdpFlow] = {}
        self._waiting: deque[tuple[bytes, tuple[str, int]]] = deque()
        self._loop = asyncio.get_running_loop()
        self.local: tuple[str, int] = ("", 0)

    def open(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Binds the socket. Raises OSError."""
        sock = open_udp(host, port, buffer=_BUFFER, reuse_port=reuse_port)
        self._socket = sock
        self.local = (host, sock.getsockname()[1])
        self._loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Closes the socket."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for flow in self._by_address.values():
            self._flows.remove(flow)
        self._by_address.clear()

    def send(self, data: bytes, to: tuple[str, int]) -> bool:
        """Sends a datagram, or queues it."""
        if self._socket is None:
            return False
        if not self._waiting:
            try:
                self._socket.sendto(data, to)
                return True
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket.fileno(), self._writable)
            except OSError:
                return False
        if len(self._waiting) >= _QUEUE:
            refused("udp_send_queue")
            return False
        self._waiting.append((data, to))
        return True

    def _writable(self) -> None:
        assert self._socket is not None
        while self._waiting:
            data, to = self._waiting[0]
            try:
                self._socket.sendto(data, to)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                pass
            self._waiting.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        receive = self._socket.recvfrom if self._socket is not None else None
        if receive is None:
            return
        for _ in range(_DRAIN):
            try:
                data, source = receive(65_536)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error of an earlier datagram
            # IPv6 has a flow label and a scope more; the host names the scope as well
            address: tuple[str, int] = source if len(source) == 2 else (source[0], source[1])
            flow = self._by_address.get(address) or self.flow_of(address)
            if data[:1] in b"\r\n\0":
                self._keep_alive(data, flow)
            else:
                self._sink.on_message(data, flow)
            if self._socket is None:
                return

    def _keep_alive(self, data: bytes, flow: UdpFlow) -> None:
        """CRLF pings and STUN binding requests (RFC 5626 section 4.4); an empty datagram is nothing."""
        if data[:4] == b"\r\n\r\n":
            flow.send(b"\r\n")
        elif data[:1] == b"\0":
            answer = stun_binding_response(data, flow.remote)
            if answer is not None:
                flow.send(answer)

    def flow_of(self, address: tuple[str, int]) -> UdpFlow:
        """The flow of an address; the one not used longest makes room."""
        flow = self._by_address.get(address)
        if flow is None:
            if len(self._by_address) >= self._max_flows:
                oldest = next(iter(self._by_address))
                self._flows.remove(self._by_address.pop(oldest))
            flow = UdpFlow(self, self._number(address), address)
            self._by_address[address] = flow
            self._flows.add(flow)
        return flow

    def _number(self, address: tuple[str, int]) -> int:
        if ":" in address[0]:
            return self._flows.next_id()
        ip = int.from_bytes(socket.inet_aton(address[0]), "big")
        return UDP_BIT | self._index << 48 | ip << 16 | address[1]

    def restore(self, connection_id: int) -> Flow | None:
        """The flow that a number of this socket stands for."""
        if (connection_id >> 48) & 0x7FFF != self._index or self._socket is None or ":" in self.local[0]:
            return None
        ip = str(ipaddress.IPv4Address((connection_id >> 16) & 0xFFFFFFFF))
        return self.flow_of((ip, connection_id & 0xFFFF))
