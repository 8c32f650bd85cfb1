"""The TURN server (RFC 8656) and the STUN server it includes (RFC 8489), without sockets.

`TurnServer.receive` takes one control message and returns its reply. What clients and peers send to one another never comes
here: a data plane moves it, told by this server which peers are permitted and which channels are bound. What is no
well-formed request gets no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from parley.stun.addresses import Address, Family
from parley.stun.channel_data import FIRST_CHANNEL, LAST_CHANNEL
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.discovery import ATTRIBUTES
from parley.stun.errors import StunParseError
from parley.stun.integrity import fingerprint_is_right, protect
from parley.stun.message import Message
from parley.stun.turn.allocate import Allocator, Alternates, granted_lifetime, read_family
from parley.stun.turn.allocations import Allocation, Channel, Dialect, Flow
from parley.stun.turn.authentication import Authenticator
from parley.stun.turn.config import CHANNEL_LIFETIME, PERMISSION_LIFETIME, Limiter, TurnConfig
from parley.stun.turn.credentials import Credentials
from parley.stun.turn.exchange import Exchange, Refused, error_of, malformed, unknown_attributes
from parley.stun.turn.forwarding import relay_to
from parley.stun.turn.observer import CloseReason, Observer
from parley.stun.turn.plane import DataPlane, RelayPorts
from parley.stun.turn.reservations import Reservations
from parley.stun.turn.shell import PeerConnection, Shell
from parley.stun.turn.table import AllocationTable
from parley.stun.turn.tcp import PeerConnections

_AUTHENTICATION: Final = frozenset({
    Attribute.USERNAME, Attribute.USERHASH, Attribute.REALM, Attribute.NONCE, Attribute.PASSWORD_ALGORITHM,
})  # fmt: skip
_KNOWN: Final[dict[int, frozenset[int]]] = {
    Method.BINDING: _AUTHENTICATION,
    Method.ALLOCATE: _AUTHENTICATION | {
        Attribute.REQUESTED_TRANSPORT, Attribute.LIFETIME, Attribute.EVEN_PORT, Attribute.RESERVATION_TOKEN,
        Attribute.DONT_FRAGMENT, Attribute.REQUESTED_ADDRESS_FAMILY,
    },
    Method.REFRESH: _AUTHENTICATION | {Attribute.LIFETIME, Attribute.REQUESTED_ADDRESS_FAMILY},
    Method.CREATE_PERMISSION: _AUTHENTICATION | {Attribute.XOR_PEER_ADDRESS},
    Method.CHANNEL_BIND: _AUTHENTICATION | {Attribute.XOR_PEER_ADDRESS, Attribute.CHANNEL_NUMBER},
    Method.CONNECT: _AUTHENTICATION | {Attribute.XOR_PEER_ADDRESS},
    Method.CONNECTION_BIND: _AUTHENTICATION | {Attribute.CONNECTION_ID},
}  # fmt: skip


class TurnServer:
    """Answers clients that speak RFC TURN, and keeps their allocations."""

    def __init__(
        self,
        config: TurnConfig,
        credentials: Credentials,
        ports: RelayPorts,
        plane: DataPlane,
        table: AllocationTable,
        observer: Observer,
        shell: Shell,
        *,
        wall: Callable[[], float],
        challenges: Limiter,
    ) -> None:
        """``wall``: seconds since the Unix epoch, for what replicas share; ``challenges``: 401 and 438 per address."""
        self._config = config
        self._plane = plane
        self._table = table
        self._observer = observer
        self._shell = shell
        self._wall = wall
        self._challenges = challenges
        self._authenticator = Authenticator(config, credentials)
        self.reservations = Reservations(ports, config.worker)
        self.alternates = Alternates()
        self._allocator = Allocator(config, ports, table, self.reservations, self.alternates)
        self._handlers: dict[int, Callable[[Exchange], Message | None]] = {
            Method.ALLOCATE: self._allocator.allocate,
            Method.REFRESH: self._refresh,
            Method.CREATE_PERMISSION: self._create_permission,
            Method.CHANNEL_BIND: self._bind_channel,
        }
        self.connections = PeerConnections(config, table, shell, self._report)
        if config.tcp:
            self._handlers[Method.CONNECT] = self.connections.connect
            self._handlers[Method.CONNECTION_BIND] = self.connections.bind

    def receive(self, flow: Flow, data: bytes, now: float) -> bytes | None:
        """The reply to one whole control message, None for none. ``now``: monotonic seconds."""
        try:
            message = Message.parse(data)
        except StunParseError:
            self._observer.refused(flow, Dialect.TURN, 0, 0)
            return None
        is_sound = message.fingerprint_at < 0 or fingerprint_is_right(message)
        if not is_sound or message.message_class is not MessageClass.REQUEST or not self._serves(message.method):
            self._observer.refused(flow, Dialect.TURN, message.method, 0)
            return None
        if message.method == Method.BINDING:
            return self._binding(flow, message)
        if (found := self._table.at(flow)) is not None and found.dialect is not Dialect.TURN:
            self._observer.refused(flow, Dialect.TURN, message.method, 0)
            return None
        if message.method == Method.ALLOCATE and (answer := self._allocator.repeated(flow, message, now)) is not None:
            return answer
        return self._authenticated(flow, message, now)

    def closed(self, flow: Flow, now: float) -> None:
        """A stream is gone, and with it its allocation."""
        allocation = self._allocation(flow)
        if allocation is not None:
            self._table.close(allocation, CloseReason.DISCONNECTED)

    def expire(self, now: float) -> float:
        """Ends whatever is over by now, of both dialects; the monotonic time at which to call this again."""
        return min(self._table.expire(now), self.reservations.expire(now), self.connections.expire(now))

    def dialled(self, connection: PeerConnection, connected: bool, now: float) -> None:
        """What became of `Shell.dial`."""
        self.connections.dialled(connection, connected, now)

    def accepted(self, allocation: Allocation, peer: Address, now: float) -> PeerConnection | None:
        """A peer has connected to a TCP relay; None when it must be hung up."""
        return self.connections.accepted(allocation, peer, now)

    def disconnected(self, connection: PeerConnection) -> None:
        """A connection to a peer, or the stream spliced to it, is closed."""
        self.connections.disconnected(connection)

    def drain(self, hosts: dict[Family, str], domain: str = "") -> None:
        """New clients are sent to a host of their family, or told that there is no room; allocations live on."""
        self.alternates.drain(hosts, domain)

    def resume(self) -> None:
        """The draining is called off."""
        self.alternates.resume()

    def _allocation(self, flow: Flow) -> Allocation | None:
        allocation = self._table.at(flow)
        return allocation if allocation is not None and allocation.dialect is Dialect.TURN else None

    def _binding(self, flow: Flow, request: Message) -> bytes | None:
        """Anyone may ask for its address (RFC 8489 section 12)."""
        discovery = self._config.discovery
        if discovery is not None and not discovery.serves(flow):
            discovery = None
        target = flow
        try:
            unknown = request.unknown_attributes(_KNOWN[Method.BINDING] | (ATTRIBUTES if discovery else frozenset()))
            if unknown:
                raise unknown_attributes(unknown)
            if discovery is not None:
                response, target = discovery.answer(flow, request)
            else:
                response = request.success().add_xor_address(Attribute.XOR_MAPPED_ADDRESS, flow.client)
        except (StunParseError, Refused) as error:
            refusal = error if isinstance(error, Refused) else malformed(error)
            self._observer.refused(flow, Dialect.TURN, request.method, refusal.code)
            response = error_of(request, refusal)
        answer = protect(response, fingerprint=request.fingerprint_at >= 0)
        if target == flow:
            return answer
        self._shell.send(target, answer)
        return None

    def _serves(self, method: int) -> bool:
        return method == Method.BINDING or method in self._handlers

    def _report(self, exchange: Exchange, code: ErrorCode) -> None:
        self._observer.refused(exchange.flow, Dialect.TURN, exchange.request.method, code)

    def _authenticated(self, flow: Flow, request: Message, now: float) -> bytes | None:
        allocation = self._allocation(flow)
        try:
            owner = allocation
            if request.method == Method.CONNECTION_BIND and (connection := self.connections.named_in(request)) is not None:
                owner = connection.allocation
            caller = self._authenticator.authenticate(request, flow, owner, self._wall())
        except StunParseError as error:
            return self._refuse(flow, request, malformed(error), now)
        except Refused as refused:
            return self._refuse(flow, request, refused, now)
        exchange = Exchange(request, flow, caller, allocation, now)
        try:
            unknown = request.unknown_attributes(_KNOWN[request.method])
            if unknown:
                raise unknown_attributes(unknown)
            response = self._handlers[request.method](exchange)
        except (StunParseError, Refused) as error:
            refusal = error if isinstance(error, Refused) else malformed(error)
            self._observer.refused(flow, Dialect.TURN, request.method, refusal.code)
            response = error_of(request, refusal)
        if response is None:
            return None
        answer = exchange.seal(response, self._config.software)
        if request.method == Method.ALLOCATE and response.message_class is MessageClass.SUCCESS:
            self._allocator.remember(flow, request, answer, now)
        return answer

    def _refuse(self, flow: Flow, request: Message, refused: Refused, now: float) -> bytes | None:
        """An answer to somebody unknown; silence when its address got too many of them, so that nobody is flooded."""
        if not self._challenges.allow(flow.client.host, now):
            self._observer.refused(flow, Dialect.TURN, request.method, 0)
            return None
        self._observer.refused(flow, Dialect.TURN, request.method, refused.code)
        return protect(error_of(request, refused), fingerprint=request.fingerprint_at >= 0)

    def _refresh(self, exchange: Exchange) -> Message:
        """RFC 8656 section 8.2."""
        allocation = exchange.owned()
        asked = exchange.request.get_int(Attribute.LIFETIME)
        value = exchange.request.get(Attribute.REQUESTED_ADDRESS_FAMILY)
        family = None if value is None else read_family(value)
        if family is not None and allocation.relay_for(family) is None:
            raise Refused(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        lifetime = 0 if asked == 0 else granted_lifetime(exchange.request, self._config)
        if lifetime:
            self._table.refresh(allocation, lifetime, exchange.now)
        elif family is not None and len(allocation.relays) > 1:
            self._retire(allocation, family)
        else:
            self._table.close(allocation, CloseReason.RELEASED)
        return exchange.request.success().add_int(Attribute.LIFETIME, lifetime)

    def _retire(self, allocation: Allocation, family: Family) -> None:
        """One relay of a dual allocation is given back."""
        gone = [relay for relay in allocation.relays if relay.family is family]
        allocation.relays = tuple(relay for relay in allocation.relays if relay.family is not family)
        for relay in gone:
            self._plane.retire(allocation, relay)

    def _create_permission(self, exchange: Exchange) -> Message:
        """RFC 8656 section 10.2: all of the peers, or none."""
        allocation = exchange.owned()
        peers = exchange.peers()
        for peer in peers:
            self._check_peer(allocation, peer)
        self._permit(allocation, {peer.host for peer in peers}, exchange.now)
        return exchange.request.success()

    def _check_peer(self, allocation: Allocation, peer: Address) -> None:
        if relay_to(allocation, peer.host) is None:
            raise Refused(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        if not self._config.peers.allows(peer.host):
            raise Refused(ErrorCode.FORBIDDEN)

    def _permit(self, allocation: Allocation, hosts: set[str], now: float) -> None:
        """Makes permissions or prolongs them. Raises Refused when there would be too many."""
        limit = self._table.quotas.permissions
        permissions = allocation.permissions
        if limit and len(permissions.keys() | hosts) > limit:
            for host in [host for host, until in permissions.items() if until <= now and host not in hosts]:
                del permissions[host]
            if len(permissions.keys() | hosts) > limit:
                raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        for host in hosts:
            permissions[host] = now + PERMISSION_LIFETIME
            self._plane.permit(allocation, host)

    def _bind_channel(self, exchange: Exchange) -> Message:
        """RFC 8656 section 12.2."""
        allocation = exchange.owned()
        value = exchange.request.get_int(Attribute.CHANNEL_NUMBER)
        number = -1 if value is None else value >> 16
        if not FIRST_CHANNEL <= number <= LAST_CHANNEL:
            raise Refused(ErrorCode.BAD_REQUEST)
        peer = exchange.peers()[0]
        if allocation.relays[0].stream:
            raise Refused(ErrorCode.FORBIDDEN)
        self._check_peer(allocation, peer)
        if not self._config.peers.allows_port(*peer):
            raise Refused(ErrorCode.FORBIDDEN)
        self._check_channel(allocation, number, peer, exchange.now)
        self._permit(allocation, {peer.host}, exchange.now)
        channel = allocation.channels.get(number)
        if channel is None:
            channel = Channel(number, peer, 0.0)
            allocation.channels[number] = allocation.channel_by_peer[peer] = channel
        channel.expires_at = exchange.now + CHANNEL_LIFETIME
        self._plane.bind(allocation, channel)
        return exchange.request.success()

    def _check_channel(self, allocation: Allocation, number: int, peer: Address, now: float) -> None:
        """Raises Refused when number or peer is bound otherwise, or there are too many channels."""
        limit = self._table.quotas.channels
        for stale in [channel for channel in allocation.channels.values() if channel.expires_at <= now]:
            del allocation.channels[stale.number]
            del allocation.channel_by_peer[stale.peer]
        channel, other = allocation.channels.get(number), allocation.channel_by_peer.get(peer)
        if channel is not other:
            raise Refused(ErrorCode.BAD_REQUEST, "The channel or the peer is bound otherwise")
        if channel is None and limit and len(allocation.channels) >= limit:
            raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
