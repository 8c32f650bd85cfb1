"""An MS-TURN client without sockets: what tests and benchmarks of the server speak.

What it wants to send is taken with `outgoing`, one item for each datagram or write; what arrives goes into `receive`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from parley.stun.addresses import Address
from parley.stun.ms.codes import MsAttribute, MsType
from parley.stun.ms.framing import FrameReader, FrameType, encode_data, encode_frame
from parley.stun.ms.integrity import integrity_is_right, integrity_key, protect
from parley.stun.ms.message import MsMessage, is_ms_message
from parley.stun.ms.pseudo_tls import SERVER_HELLO_SIZE, client_hello, is_server_hello


class Carriage(Enum):
    """How messages travel."""

    DATAGRAMS = "datagrams"
    FRAMES = "frames"
    PSEUDO_TLS = "pseudo-tls"


class MsClientError(Exception):
    """The server did what it must not."""


@dataclass(frozen=True, slots=True)
class Allocated:
    """An allocation is made or refreshed; ``lifetime`` 0: released, and there is no relay."""

    relay: Address | None
    mapped: Address | None
    lifetime: int


@dataclass(frozen=True, slots=True)
class DestinationSet:
    """From now on bare payload goes to that peer, and comes from it."""

    peer: Address


@dataclass(frozen=True, slots=True)
class PeerData:
    """A packet of a peer. ``bare``: it came without an indication."""

    peer: Address
    payload: bytes
    bare: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The server refused. ``protected``: the error proves to be the server's; ``alternate``: the server to try instead."""

    code: int
    protected: bool
    alternate: Address | None = None


Event = Allocated | DestinationSet | PeerData | Failed


class MsTurnClient:
    """One allocation, from its first request to its release."""

    def __init__(self, username: bytes, password: bytes, carriage: Carriage = Carriage.DATAGRAMS) -> None:
        """``username``, ``password``: binary, as base64 in a document of MRAS stands for them."""
        self._username = username
        self._password = password
        self._carriage = carriage
        self._reader = FrameReader()
        self._hello = b"" if carriage is Carriage.PSEUDO_TLS else None
        self._waiting: list[bytes] = []
        self._out: list[bytes] = []
        self._realm = b""
        self._nonce = b""
        self._key = b""
        self._connection_id = b""
        self._sequence = 0
        self._asked: dict[bytes, tuple[int | None, Address | None]] = {}
        self.destination: Address | None = None
        if carriage is Carriage.PSEUDO_TLS:
            self._out.append(client_hello(os.urandom(32)))

    def outgoing(self) -> list[bytes]:
        """What is to be sent now."""
        out, self._out = self._out, []
        return out

    def allocate(self, lifetime: int | None = None) -> None:
        """Asks for an allocation, or for its refresh; 0 releases it."""
        message = MsMessage(MsType.ALLOCATE).add_int(MsAttribute.MS_VERSION, 1)
        if lifetime is not None:
            message.add_int(MsAttribute.LIFETIME, lifetime)
        self._asked[message.transaction_id] = (lifetime, None)
        if self._key:
            message.add(MsAttribute.REALM, self._realm).add(MsAttribute.NONCE, self._nonce)
            message.add(MsAttribute.USERNAME, self._username)
            self._control(protect(message, self._key))
        else:
            self._control(bytes(message))

    def send(self, peer: Address, payload: bytes) -> None:
        """Sends a packet to any peer."""
        message = MsMessage(MsType.SEND).add_int(MsAttribute.MS_VERSION, 1)
        self._number(message).add(MsAttribute.USERNAME, self._username)
        message.add_address(MsAttribute.DESTINATION_ADDRESS, peer).add(MsAttribute.DATA, payload)
        self._control(protect(message, self._key))

    def set_destination(self, peer: Address) -> None:
        """Asks for a peer to be the active destination."""
        message = MsMessage(MsType.SET_ACTIVE_DESTINATION).add(MsAttribute.USERNAME, self._username)
        self._number(message).add_address(MsAttribute.DESTINATION_ADDRESS, peer)
        self._asked[message.transaction_id] = (None, peer)
        self._control(protect(message, self._key))

    def send_bare(self, payload: bytes) -> None:
        """Sends a packet to the active destination. Raises MsClientError when there is none."""
        if self.destination is None:
            raise MsClientError("there is no active destination")
        self._put(payload if self._carriage is Carriage.DATAGRAMS else encode_data(payload))

    def receive(self, data: bytes) -> list[Event]:
        """What a datagram, or a piece of a stream, says. Raises MsClientError and StunParseError."""
        if self._carriage is Carriage.DATAGRAMS:
            return self._packet(data, control=is_ms_message(data))
        if self._hello is not None:
            data = self._after_hello(self._hello + data)
        events: list[Event] = []
        for frame in self._reader.feed(data):
            events += self._packet(frame.payload, control=frame.kind is FrameType.CONTROL)
        return events

    def _after_hello(self, data: bytes) -> bytes:
        """What follows the server's hello; when that is here, whatever waited for it goes out."""
        self._hello = data
        if len(data) < SERVER_HELLO_SIZE:
            return b""
        if not is_server_hello(data):
            raise MsClientError("the server answered with another hello")
        self._hello = None
        self._out += self._waiting
        self._waiting.clear()
        return data[SERVER_HELLO_SIZE:]

    def _number(self, message: MsMessage) -> MsMessage:
        self._sequence += 1
        return message.add_sequence(self._connection_id, self._sequence)

    def _control(self, message: bytes) -> None:
        self._put(message if self._carriage is Carriage.DATAGRAMS else encode_frame(FrameType.CONTROL, message))

    def _put(self, data: bytes) -> None:
        (self._waiting if self._hello is not None else self._out).append(data)

    def _packet(self, data: bytes, *, control: bool) -> list[Event]:
        if not control:
            if self.destination is None:
                raise MsClientError("bare payload came without an active destination")
            return [PeerData(self.destination, data, bare=True)]
        message = MsMessage.parse(data)
        if message.kind == MsType.DATA:
            peer = message.get_address(MsAttribute.REMOTE_ADDRESS)
            if peer is None:
                raise MsClientError("a Data indication names no peer")
            return [PeerData(peer, message.get(MsAttribute.DATA) or b"", bare=False)]
        if message.transaction_id not in self._asked:
            raise MsClientError("an answer to what was not asked")
        lifetime, peer = self._asked.pop(message.transaction_id)
        error = message.error_code
        if error is not None:
            return self._refused(message, error[0], lifetime)
        if not integrity_is_right(message, self._key):
            raise MsClientError("a success response is not protected")
        if message.kind == MsType.SET_ACTIVE_DESTINATION_RESPONSE and peer is not None:
            self.destination = peer
            return [DestinationSet(peer)]
        sequence = message.sequence
        if sequence is not None:
            self._connection_id = sequence[0]
        return [
            Allocated(
                message.get_address(MsAttribute.MAPPED_ADDRESS),
                message.mapped_address,
                message.get_int(MsAttribute.LIFETIME) or 0,
            )
        ]

    def _refused(self, message: MsMessage, code: int, lifetime: int | None) -> list[Event]:
        """A challenge is taken up once; what is asked of this client again and again fails."""
        nonce, realm = message.get(MsAttribute.NONCE), message.get(MsAttribute.REALM)
        fresh = (code == 401 and not self._key) or code == 438
        if fresh and nonce is not None and realm is not None and nonce != self._nonce:
            self._nonce, self._realm = nonce, realm
            self._key = integrity_key(self._username, realm.decode(), self._password)
            self.allocate(lifetime)
            return []
        protected = bool(self._key) and integrity_is_right(message, self._key)
        return [Failed(code, protected, message.get_address(MsAttribute.ALTERNATE_SERVER))]
