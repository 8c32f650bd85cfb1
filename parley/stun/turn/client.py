"""A TURN client (RFC 8656, RFC 6062) without sockets.

Bytes and the time go in; `take_outgoing`, `take_events` and `deadline` tell what is to be sent, what happened, and when
`expire` is to be called. What it has been given it keeps: allocation, permissions and channels are refreshed before they
end. On a stream, `parley.stun.framing.StreamFramer` makes messages of what comes in, and what goes out follows one another.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from parley.stun.addresses import Address, Family, decode_address
from parley.stun.channel_data import FIRST_CHANNEL, LAST_CHOSEN, decode_channel_data, encode_channel_data
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.errors import StunError, StunParseError
from parley.stun.integrity import fingerprint_is_right
from parley.stun.message import Message
from parley.stun.turn.events import (
    Allocated,
    ChannelBound,
    ClientEvent,
    Connected,
    ConnectionBound,
    Failed,
    Mapped,
    Permitted,
    Received,
    Redirected,
    Refreshed,
    Released,
)
from parley.stun.turn.transactions import ClientTransactions, Session, Transaction, phrase_of

UDP: Final = 17
TCP: Final = 6
_KEEP_PEER_S: Final = 240.0  # a permission lasts 300


class ChannelsUsedUp(StunError):
    """All channel numbers are bound."""


class TurnClient:
    """One client on one five-tuple."""

    def __init__(self, session: Session, *, stream: bool = False) -> None:
        """``session``: shared with the data connections of RFC 6062; needs no user name where only addresses are asked."""
        self.session = session
        self.relayed: tuple[Address, ...] = ()
        self._stream = stream
        self._transactions = ClientTransactions(session, reliable=stream)
        self._events: list[ClientEvent] = []
        self._refresh_at = inf
        self._permissions: dict[str, float] = {}
        self._channels: dict[Address, int] = {}
        self._peers: dict[int, Address] = {}
        self._bound: dict[Address, float] = {}

    # what the user asks for

    def ask_address(self, now: float, *, change: int | None = None, response_port: int = 0, padding: int = 0) -> None:
        """A Binding request. ``change``: 4 for another address, 2 for another port (RFC 5780); ``padding``: bytes."""

        def fill(message: Message) -> None:
            if change is not None:
                message.add_int(Attribute.CHANGE_REQUEST, change)
            if response_port:
                message.add(Attribute.RESPONSE_PORT, response_port.to_bytes(2, "big") + b"\0\0")
            if padding:
                message.add(Attribute.PADDING, bytes(padding))

        self._transactions.start(Method.BINDING, fill, now, authenticated=False)

    def allocate(
        self,
        now: float,
        *,
        protocol: int = UDP,
        family: Family | None = None,
        dual: bool = False,
        lifetime: int | None = None,
        even: bool = False,
        reserve: bool = False,
        token: bytes = b"",
        dont_fragment: bool = False,
    ) -> None:
        """Asks for an allocation. ``dual``: IPv4 and IPv6; ``even``: an even port; ``reserve``: and the next one."""

        def fill(message: Message) -> None:
            message.add(Attribute.REQUESTED_TRANSPORT, bytes((protocol, 0, 0, 0)))
            if lifetime is not None:
                message.add_int(Attribute.LIFETIME, lifetime)
            if family is not None:
                message.add(Attribute.REQUESTED_ADDRESS_FAMILY, bytes((family, 0, 0, 0)))
            if dual:
                message.add(Attribute.ADDITIONAL_ADDRESS_FAMILY, bytes((Family.IPV6, 0, 0, 0)))
            if even or reserve:
                message.add_int(Attribute.EVEN_PORT, 0x80 if reserve else 0, 1)
            if token:
                message.add(Attribute.RESERVATION_TOKEN, token)
            if dont_fragment:
                message.add(Attribute.DONT_FRAGMENT)

        self._transactions.start(Method.ALLOCATE, fill, now)

    def refresh(self, now: float, lifetime: int | None = None) -> None:
        """Prolongs the allocation."""
        self._refresh_at = inf
        self._refresh(now, lifetime, keeping=False)

    def release(self, now: float) -> None:
        """Gives the allocation back."""
        self._refresh_at = inf
        self._permissions.clear()
        self._bound.clear()
        self._refresh(now, 0, keeping=False)

    def permit(self, hosts: Iterable[str], now: float) -> None:
        """Lets these addresses send to the relay, and be sent to."""
        self._permit(tuple(hosts), now, keeping=False)

    def bind_channel(self, peer: Address, now: float) -> int:
        """Binds a channel to a peer, which permits it too; its number. Raises ChannelsUsedUp."""
        number = self._channels.get(peer)
        if number is None:
            number = FIRST_CHANNEL + len(self._channels)
            if number > LAST_CHOSEN:
                raise ChannelsUsedUp("all channel numbers are bound")
            self._channels[peer] = number
            self._peers[number] = peer
        self._bind(peer, now, keeping=False)
        return number

    def connect(self, peer: Address, now: float) -> None:
        """Asks the relay to connect to a peer (RFC 6062)."""
        self._transactions.start(
            Method.CONNECT, lambda message: message.add_xor_address(Attribute.XOR_PEER_ADDRESS, peer), now
        )

    def bind_connection(self, number: int, now: float) -> None:
        """Takes a connection to a peer over on this stream, which is a new one (RFC 6062)."""
        self._transactions.start(
            Method.CONNECTION_BIND, lambda message: message.add_int(Attribute.CONNECTION_ID, number), now
        )

    def send(self, peer: Address, payload: bytes, *, dont_fragment: bool = False) -> bytes:
        """What is to be sent to the server for a peer to get the payload: over its channel once that stands."""
        if peer in self._bound and not dont_fragment:
            return encode_channel_data(self._channels[peer], payload, padded=self._stream)
        message = Message(Method.SEND, MessageClass.INDICATION).add_xor_address(Attribute.XOR_PEER_ADDRESS, peer)
        if dont_fragment:
            message.add(Attribute.DONT_FRAGMENT)
        return bytes(message.add(Attribute.DATA, payload))

    # what comes out

    @property
    def deadline(self) -> float:
        """When `expire` is to be called; infinity for never."""
        return min(
            self._transactions.deadline,
            self._refresh_at,
            min(self._permissions.values(), default=inf),
            min(self._bound.values(), default=inf),
        )

    def take_outgoing(self) -> list[bytes]:
        """Messages to be sent, in order."""
        taken, self._transactions.outgoing = self._transactions.outgoing, []
        return taken

    def take_events(self) -> list[ClientEvent]:
        """What happened since it was last asked."""
        taken, self._events = self._events, []
        return taken

    # what comes in

    def receive(self, data: bytes, now: float) -> bool:
        """One message of the server; False for what is none, and is ignored."""
        try:
            if data[:1] and 0x40 <= data[0] < 0x80:
                return self._channel_data(data)
            message = Message.parse(data)
            if message.fingerprint_at >= 0 and not fingerprint_is_right(message):
                return False
            if message.message_class is MessageClass.INDICATION:
                return self._indication(message)
            done = self._transactions.receive(message, now)
        except StunParseError:
            return False
        if done is not None:
            try:
                self._answered(*done, now)
            except StunParseError as error:
                self._events.append(Failed(done[0].method, ErrorCode.SERVER_ERROR, str(error)))
        return message.message_class is not MessageClass.REQUEST

    def expire(self, now: float) -> None:
        """Does what is due: repeats requests, refreshes what would end."""
        for transaction in self._transactions.expire(now):
            self._events.append(Failed(transaction.method, None, ""))
        if self._refresh_at <= now:
            self._refresh_at = inf
            self._refresh(now, None, keeping=True)
        due = tuple(host for host, at in self._permissions.items() if at <= now)
        if due:
            self._permissions.update(dict.fromkeys(due, now + _KEEP_PEER_S))
            self._permit(due, now, keeping=True)
        for peer in [peer for peer, at in self._bound.items() if at <= now]:
            self._bound[peer] = now + _KEEP_PEER_S
            self._bind(peer, now, keeping=True)

    # requests that keep something alive are not told of when they succeed

    def _refresh(self, now: float, lifetime: int | None, *, keeping: bool) -> None:
        def fill(message: Message) -> None:
            if lifetime is not None:
                message.add_int(Attribute.LIFETIME, lifetime)

        self._transactions.start(Method.REFRESH, fill, now, refreshing=keeping)

    def _permit(self, hosts: tuple[str, ...], now: float, *, keeping: bool) -> None:
        def fill(message: Message) -> None:
            for host in hosts:
                message.add_xor_address(Attribute.XOR_PEER_ADDRESS, Address(host, 0))

        self._transactions.start(Method.CREATE_PERMISSION, fill, now, refreshing=keeping)

    def _bind(self, peer: Address, now: float, *, keeping: bool) -> None:
        def fill(message: Message) -> None:
            message.add(Attribute.CHANNEL_NUMBER, self._channels[peer].to_bytes(2, "big") + b"\0\0")
            message.add_xor_address(Attribute.XOR_PEER_ADDRESS, peer)

        self._transactions.start(Method.CHANNEL_BIND, fill, now, refreshing=keeping)

    def _channel_data(self, data: bytes) -> bool:
        number, payload = decode_channel_data(data)
        peer = self._peers.get(number)
        if peer is not None:
            self._events.append(Received(peer, payload))
        return peer is not None

    def _indication(self, message: Message) -> bool:
        peer = message.get_xor_address(Attribute.XOR_PEER_ADDRESS)
        if peer is None:
            return False
        if message.method == Method.DATA and (payload := message.get(Attribute.DATA)) is not None:
            self._events.append(Received(peer, payload))
            return True
        number = message.get_int(Attribute.CONNECTION_ID)
        if message.method != Method.CONNECTION_ATTEMPT or number is None:
            return False
        self._events.append(Connected(number, peer, incoming=True))
        return True

    def _answered(self, transaction: Transaction, response: Message, now: float) -> None:
        if response.message_class is MessageClass.ERROR:
            self._refused(transaction, response)
            return
        request = transaction.message
        event: ClientEvent | None
        match transaction.method:
            case Method.BINDING:
                event = self._mapped(response)
            case Method.ALLOCATE:
                event = self._allocated(response, now)
            case Method.REFRESH:
                event = self._refreshed(response, now)
            case Method.CREATE_PERMISSION:
                hosts = tuple(peer.host for peer in request.get_xor_addresses(Attribute.XOR_PEER_ADDRESS))
                self._permissions.update(dict.fromkeys(hosts, now + _KEEP_PEER_S))
                event = Permitted(hosts)
            case Method.CHANNEL_BIND:
                peer = request.get_xor_addresses(Attribute.XOR_PEER_ADDRESS)[0]
                self._bound[peer] = now + _KEEP_PEER_S
                event = ChannelBound(self._channels[peer], peer)
            case Method.CONNECT:
                event = self._connected(request, response)
            case _:
                event = ConnectionBound()
        if event is not None and not transaction.refreshing:
            self._events.append(event)

    def _refused(self, transaction: Transaction, response: Message) -> None:
        code, reason = phrase_of(response)
        alternate = response.get(Attribute.ALTERNATE_SERVER)
        if transaction.method == Method.CHANNEL_BIND:
            peer = transaction.message.get_xor_addresses(Attribute.XOR_PEER_ADDRESS)[0]
            self._bound.pop(peer, None)
        if code == ErrorCode.TRY_ALTERNATE and alternate is not None:
            domain = response.get_text(Attribute.ALTERNATE_DOMAIN, 255) or ""
            self._events.append(Redirected(decode_address(alternate), domain))
        else:
            self._events.append(Failed(transaction.method, code, reason))

    def _mapped(self, response: Message) -> ClientEvent:
        mapped = response.get_xor_address(Attribute.XOR_MAPPED_ADDRESS)
        if mapped is None:
            return Failed(Method.BINDING, ErrorCode.SERVER_ERROR, "the answer tells no address")
        origin, other = (response.get(kind) for kind in (Attribute.RESPONSE_ORIGIN, Attribute.OTHER_ADDRESS))
        return Mapped(
            mapped,
            None if origin is None else decode_address(origin),
            None if other is None else decode_address(other),
        )

    def _allocated(self, response: Message, now: float) -> ClientEvent:
        self.relayed = tuple(response.get_xor_addresses(Attribute.XOR_RELAYED_ADDRESS))
        lifetime = response.get_int(Attribute.LIFETIME)
        if not self.relayed or lifetime is None:
            return Failed(Method.ALLOCATE, ErrorCode.SERVER_ERROR, "the answer tells no relay")
        self._refresh_at = now + _refresh_after(lifetime)
        token = response.get(Attribute.RESERVATION_TOKEN) or b""
        return Allocated(self.relayed, response.get_xor_address(Attribute.XOR_MAPPED_ADDRESS), lifetime, token)

    def _refreshed(self, response: Message, now: float) -> ClientEvent:
        lifetime = response.get_int(Attribute.LIFETIME) or 0
        if not lifetime:
            self.relayed = ()
            return Released()
        self._refresh_at = now + _refresh_after(lifetime)
        return Refreshed(lifetime)

    def _connected(self, request: Message, response: Message) -> ClientEvent:
        peer = request.get_xor_addresses(Attribute.XOR_PEER_ADDRESS)[0]
        number = response.get_int(Attribute.CONNECTION_ID)
        if number is None:
            return Failed(Method.CONNECT, ErrorCode.SERVER_ERROR, "the answer tells no connection")
        return Connected(number, peer, incoming=False)


def _refresh_after(lifetime: int) -> float:
    return lifetime - 60.0 if lifetime > 120 else lifetime / 2
