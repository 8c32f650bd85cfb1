"""TCP relayed for clients on TCP (RFC 6062): connections to peers, and the streams on which clients come for them."""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable
from math import inf
from typing import Final

from parley.stun.addresses import Address
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.message import Message
from parley.stun.turn.allocations import Allocation
from parley.stun.turn.config import TurnConfig
from parley.stun.turn.exchange import Exchange, Refused, error_of
from parley.stun.turn.forwarding import relay_to
from parley.stun.turn.shell import PeerConnection, PeerConnectionState, Shell
from parley.stun.turn.table import AllocationTable

DIAL_S: Final = 30.0
WAIT_S: Final = 30.0
_OWNED: Final[dict[int, Attribute]] = {
    Method.CONNECTION_BIND: Attribute.CONNECTION_ID,
    Method.ALLOCATE: Attribute.RESERVATION_TOKEN,
}


class PeerConnections:
    """The connections of all allocations of a worker."""

    def __init__(
        self, config: TurnConfig, table: AllocationTable, shell: Shell, refused: Callable[[Exchange, ErrorCode], None]
    ) -> None:
        """``refused``: is told of errors that are found out after a request has been taken."""
        self._config = config
        self._limit = table.quotas.connections
        self._shell = shell
        self._refused = refused
        self._by_number: dict[int, PeerConnection] = {}
        self._of_allocation: dict[int, dict[Address, PeerConnection]] = {}
        self._requests: dict[int, Exchange] = {}
        self._heap: list[tuple[float, int]] = []
        table.on_close.append(self._hang_up_all)

    def __len__(self) -> int:
        return len(self._by_number)

    def connect(self, exchange: Exchange) -> None:
        """CONNECT: dials, and answers later. Raises Refused (RFC 6062 section 5.2)."""
        allocation = exchange.owned()
        peer = exchange.peers()[0]
        if not allocation.relays[0].stream:
            raise Refused(ErrorCode.BAD_REQUEST, "The allocation relays no TCP")
        relay = relay_to(allocation, peer.host)
        if relay is None:
            raise Refused(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        if not (self._config.peers.allows(peer.host) and self._config.peers.allows_port(*peer)):
            raise Refused(ErrorCode.FORBIDDEN)
        if peer in self._of(allocation):
            raise Refused(ErrorCode.CONNECTION_ALREADY_EXISTS)
        connection = self._add(allocation, peer, PeerConnectionState.DIALLING, exchange.now + DIAL_S)
        if connection is None:
            raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        self._requests[connection.number] = exchange
        self._shell.dial(connection)

    def dialled(self, connection: PeerConnection, connected: bool, now: float) -> None:
        """What became of a dial."""
        exchange = self._requests.pop(connection.number, None)
        if exchange is None:
            return  # too late: it was given up
        if not connected:
            self._remove(connection)
            self._fail(exchange)
            return
        self._wait(connection, now)
        response = exchange.request.success().add_int(Attribute.CONNECTION_ID, connection.number)
        self._shell.send(exchange.flow, exchange.seal(response, self._config.software))

    def accepted(self, allocation: Allocation, peer: Address, now: float) -> PeerConnection | None:
        """A peer has connected to a relay; None when it must be hung up (RFC 6062 section 5.3)."""
        if not allocation.permits(peer.host, now) or peer in self._of(allocation):
            return None
        connection = self._add(allocation, peer, PeerConnectionState.WAITING, now + WAIT_S)
        if connection is None:
            return None
        attempt = Message(Method.CONNECTION_ATTEMPT, MessageClass.INDICATION)
        attempt.add_int(Attribute.CONNECTION_ID, connection.number)
        attempt.add_xor_address(Attribute.XOR_PEER_ADDRESS, peer)
        self._shell.send(allocation.flow, bytes(attempt))
        return connection

    def named_in(self, request: Message) -> PeerConnection | None:
        """The connection that a CONNECTION-BIND is about. Raises StunParseError."""
        number = request.get_int(Attribute.CONNECTION_ID)
        return None if number is None else self._by_number.get(number)

    def bind(self, exchange: Exchange) -> None:
        """CONNECTION-BIND on a stream of its own (RFC 6062 section 5.4). Raises Refused."""
        connection = self.named_in(exchange.request)
        if not exchange.flow.transport.is_stream or exchange.allocation is not None:
            raise Refused(ErrorCode.BAD_REQUEST, "This takes a stream of its own")
        if connection is None or connection.state is not PeerConnectionState.WAITING:
            raise Refused(ErrorCode.BAD_REQUEST, "There is no such connection")
        if connection.allocation.username != exchange.caller.username:
            raise Refused(ErrorCode.WRONG_CREDENTIALS)
        connection.state = PeerConnectionState.SPLICED
        connection.deadline = inf
        response = exchange.request.success()
        self._shell.send(exchange.flow, exchange.seal(response, self._config.software))
        self._shell.splice(connection, exchange.flow)

    def disconnected(self, connection: PeerConnection) -> None:
        """It is closed, whoever did it."""
        self._remove(connection)

    def expire(self, now: float) -> float:
        """Gives up what took too long; the next time to call this."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline, number = heapq.heappop(heap)
            connection = self._by_number.get(number)
            if connection is None or connection.deadline != deadline:
                continue
            exchange = self._requests.pop(number, None)
            self._remove(connection)
            self._shell.hang_up(connection)
            if exchange is not None:
                self._fail(exchange)
        return heap[0][0] if heap else inf

    def _of(self, allocation: Allocation) -> dict[Address, PeerConnection]:
        return self._of_allocation.get(allocation.number, {})

    def _add(
        self, allocation: Allocation, peer: Address, state: PeerConnectionState, deadline: float
    ) -> PeerConnection | None:
        """A new connection; None when the allocation has all it may have."""
        connections = self._of_allocation.setdefault(allocation.number, {})
        relay = relay_to(allocation, peer.host)
        if relay is None or (self._limit and len(connections) >= self._limit):
            return None
        number = self._config.worker << 24 | secrets.randbelow(1 << 24)
        while number in self._by_number:
            number = self._config.worker << 24 | secrets.randbelow(1 << 24)
        connection = PeerConnection(number, allocation, relay, peer, state, deadline)
        self._by_number[number] = connections[peer] = connection
        heapq.heappush(self._heap, (deadline, number))
        return connection

    def _wait(self, connection: PeerConnection, now: float) -> None:
        connection.state = PeerConnectionState.WAITING
        connection.deadline = now + WAIT_S
        heapq.heappush(self._heap, (connection.deadline, connection.number))

    def _fail(self, exchange: Exchange) -> None:
        code = ErrorCode.CONNECTION_TIMEOUT_OR_FAILURE
        self._refused(exchange, code)
        self._shell.send(exchange.flow, exchange.seal(error_of(exchange.request, Refused(code)), self._config.software))

    def _remove(self, connection: PeerConnection) -> None:
        if self._by_number.pop(connection.number, None) is None:
            return
        self._requests.pop(connection.number, None)
        connections = self._of_allocation[connection.allocation.number]
        del connections[connection.peer]
        if not connections:
            del self._of_allocation[connection.allocation.number]

    def _hang_up_all(self, allocation: Allocation) -> None:
        """An allocation ends, and its connections with it (RFC 6062 section 5.1)."""
        for connection in list(self._of(allocation).values()):
            self._remove(connection)
            self._shell.hang_up(connection)


def owner_of(data: bytes) -> int | None:
    """The worker that a message is meant for by what it names, a connection or a reserved port; None for the one it came to.

    Both may come on a new flow, which the kernel gives to any worker. The messages are not checked here.
    """
    try:
        message = Message.parse(data)
    except StunParseError:
        return None
    if message.message_class is not MessageClass.REQUEST:
        return None
    kind = _OWNED.get(message.method)
    value = None if kind is None else message.get(kind)
    return value[0] if value else None
