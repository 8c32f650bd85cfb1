"""A TURN client that looks whether a server works: Binding, an allocation, packets through it (RFC 8489, RFC 8656).

It is made for tests of an installation, by people and by the edge itself; it keeps no allocation alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast

from parley.stun.addresses import Address
from parley.stun.channel_data import decode_channel_data, encode_channel_data
from parley.stun.codes import Attribute, ErrorCode, MessageClass, Method
from parley.stun.errors import StunError, StunParseError
from parley.stun.framing import StreamFramer
from parley.stun.integrity import integrity_is_right, long_term_key, protect
from parley.stun.message import Message
from parley.stun.turn.allocations import Transport

_FIRST_WAIT_S: Final = 0.3
_TRIES: Final = 4
_UDP: Final = 17
_CHANNEL: Final = 0x4000
_CONNECT_S: Final = 5.0


class ProbeError(StunError):
    """The server did not do what it was asked; the text says what."""


class _Link(asyncio.DatagramProtocol, asyncio.Protocol):
    """The transport of a probe, datagrams or a stream."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._framer = StreamFramer()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._receive(data)

    def data_received(self, data: bytes) -> None:
        self._framer.feed(data)
        try:
            for message in self._framer.messages():
                self._receive(message)
        except StunParseError:
            self._transport.abort()

    def send(self, data: bytes) -> None:
        if isinstance(self._transport, asyncio.DatagramTransport) or hasattr(self._transport, "sendto"):
            self._transport.sendto(data)
        else:
            self._transport.write(data)

    def pause(self) -> None:
        self._transport.pause_reading()

    def close(self) -> None:
        self._transport.abort()


class Probe:
    """One client of one server; made by `open`."""

    def __init__(self, transport: Transport) -> None:
        self._stream = transport.is_stream
        self._link = _Link(self._received)
        self._answers: dict[bytes, asyncio.Future[Message]] = {}
        self._credentials: list[tuple[int, bytes]] = []
        self._key = b""
        self.relayed: Address | None = None
        self.on_data: Callable[[bytes], None] = lambda _: None
        """Takes the payload that comes on the bound channel."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, server: Address, transport: Transport = Transport.UDP, *, tls: ssl.SSLContext | None = None, name: str = ""
    ) -> AsyncIterator[Probe]:
        """A probe over UDP, TCP or TLS. ``name``: that the certificate must have. Raises OSError, ValueError for DTLS."""
        if transport is Transport.DTLS:
            raise ValueError("a probe does not speak DTLS")
        probe = cls(transport)
        loop = asyncio.get_running_loop()
        if transport is Transport.UDP:
            await loop.create_datagram_endpoint(lambda: probe._link, remote_addr=(server.host, server.port))
        else:
            context = (tls or ssl.create_default_context()) if transport is Transport.TLS else None
            async with asyncio.timeout(_CONNECT_S):
                await loop.create_connection(
                    lambda: cast(asyncio.Protocol, probe._link), server.host, server.port, ssl=context,
                    server_hostname=(name or server.host) if context is not None else None,
                )  # fmt: skip
        try:
            yield probe
        finally:
            probe._link.close()

    async def binding(self) -> Address:
        """Our address as the server sees it. Raises ProbeError."""
        answer = await self._ask(Message(Method.BINDING, MessageClass.REQUEST))
        mapped = answer.get_xor_address(Attribute.XOR_MAPPED_ADDRESS)
        if mapped is None:
            raise ProbeError("the server answers a Binding without an address")
        return mapped

    async def allocate(self, username: str, password: str) -> Address:
        """A relayed address. Raises ProbeError."""
        request = Message(Method.ALLOCATE, MessageClass.REQUEST).add(Attribute.REQUESTED_TRANSPORT, bytes((_UDP, 0, 0, 0)))
        challenge = await self._ask(request)
        realm, nonce = challenge.get_text(Attribute.REALM, 763), challenge.get(Attribute.NONCE)
        if realm is None or nonce is None:
            raise ProbeError(_refusal(challenge) or "the server gives a relay to anybody, without credentials")
        self._credentials = [
            (Attribute.USERNAME, username.encode()), (Attribute.REALM, realm.encode()), (Attribute.NONCE, nonce)
        ]  # fmt: skip
        self._key = long_term_key(username, realm, password)
        answer = await self._asked(Method.ALLOCATE, [(Attribute.REQUESTED_TRANSPORT, bytes((_UDP, 0, 0, 0)))])
        self.relayed = answer.get_xor_address(Attribute.XOR_RELAYED_ADDRESS)
        if self.relayed is None:
            raise ProbeError("the server grants an allocation without an address")
        return self.relayed

    async def bind(self, peer: Address) -> None:
        """Binds the channel to a peer, which permits it as well. Raises ProbeError."""
        request = Message(Method.CHANNEL_BIND, MessageClass.REQUEST)
        request.add_int(Attribute.CHANNEL_NUMBER, _CHANNEL << 16).add_xor_address(Attribute.XOR_PEER_ADDRESS, peer)
        await self._confirmed(request)

    def send(self, payload: bytes) -> None:
        """Sends a packet to the peer of the channel."""
        self._link.send(encode_channel_data(_CHANNEL, payload, padded=self._stream))

    def pause(self) -> None:
        """Reads no more from a stream."""
        self._link.pause()

    async def release(self) -> None:
        """Gives the allocation back. Raises ProbeError."""
        await self._asked(Method.REFRESH, [(Attribute.LIFETIME, bytes(4))])
        self.relayed = None

    async def _asked(self, method: Method, attributes: list[tuple[int, bytes]]) -> Message:
        return await self._confirmed(Message(method, MessageClass.REQUEST, attributes=list(attributes)))

    async def _confirmed(self, request: Message) -> Message:
        """The success response to a request with credentials. Raises ProbeError."""
        request.attributes.extend(self._credentials)
        answer = await self._ask(request, self._key)
        if answer.message_class is not MessageClass.SUCCESS:
            raise ProbeError(_refusal(answer))
        if not integrity_is_right(answer, self._key):
            raise ProbeError("an answer is not protected by the password")
        return answer

    async def _ask(self, request: Message, key: bytes = b"") -> Message:
        """The answer to a request, which is sent again over UDP. Raises ProbeError."""
        data = protect(request, key, fingerprint=True)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[request.transaction_id] = answer
        wait = _FIRST_WAIT_S * (2**_TRIES if self._stream else 1)
        try:
            for _ in range(1 if self._stream else _TRIES):
                self._link.send(data)
                done, _ = await asyncio.wait([answer], timeout=wait)
                if done:
                    return answer.result()
                wait *= 2
        finally:
            del self._answers[request.transaction_id]
        raise ProbeError("the server does not answer")

    def _received(self, data: bytes) -> None:
        try:
            if data[:1] and data[0] & 0xC0 == 0x40:
                channel, payload = decode_channel_data(data)
                if channel == _CHANNEL:
                    self.on_data(payload)
                return
            message = Message.parse(data)
        except StunParseError:
            return
        answer = self._answers.get(message.transaction_id)
        if answer is not None and not answer.done():
            answer.set_result(message)


def _refusal(answer: Message) -> str:
    """What an error response says; "" for another message."""
    error = answer.error_code
    if error is None:
        return ""
    code, reason = error
    hint = " (wrong user name or password?)" if code == ErrorCode.UNAUTHENTICATED else ""
    return f"the server refuses: {code} {reason}{hint}"
