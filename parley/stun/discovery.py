"""NAT behaviour discovery (RFC 5780), the server's side: it answers from the address and to the port that a client asks for.

A server with two addresses and two ports on each can do that; with one it does not know these attributes. Only the port of
an answer can be chosen by a client and never its address, so nobody can have answers sent to a third party; padding is never
more than came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from parley.stun.addresses import Address, encode_address
from parley.stun.codes import Attribute, ErrorCode
from parley.stun.message import Message
from parley.stun.turn.allocations import Flow, Transport
from parley.stun.turn.exchange import Refused

ATTRIBUTES: Final = frozenset({Attribute.CHANGE_REQUEST, Attribute.RESPONSE_PORT, Attribute.PADDING})
CHANGE_HOST: Final = 4
CHANGE_PORT: Final = 2


@dataclass(frozen=True, slots=True)
class Discovery:
    """The four sockets.

    ``primary``, ``alternate``: as bound, with different hosts and ports; ``advertised``: host by bound host.
    """

    primary: Address
    alternate: Address
    advertised: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.primary.host == self.alternate.host or self.primary.port == self.alternate.port:
            raise ValueError("discovery needs two addresses and two ports")

    def serves(self, flow: Flow) -> bool:
        """Whether a request came to one of the four sockets."""
        host, port = flow.server
        hosts, ports = (self.primary.host, self.alternate.host), (self.primary.port, self.alternate.port)
        return flow.transport is Transport.UDP and host in hosts and port in ports

    def changed(self, server: Address, change: int) -> Address:
        """The socket with the other host, the other port, or both."""
        host, port = server
        if change & CHANGE_HOST:
            host = self.alternate.host if host == self.primary.host else self.primary.host
        if change & CHANGE_PORT:
            port = self.alternate.port if port == self.primary.port else self.primary.port
        return Address(host, port)

    def answer(self, flow: Flow, request: Message) -> tuple[Message, Flow]:
        """The response to a Binding request, and the flow to send it on. Raises Refused, StunParseError."""
        change = request.get_int(Attribute.CHANGE_REQUEST) or 0
        port = request.get_int(Attribute.RESPONSE_PORT)
        padding = request.get(Attribute.PADDING)
        if port is not None and padding is not None:
            raise Refused(ErrorCode.BAD_REQUEST, "RESPONSE-PORT and PADDING exclude each other")
        if port is not None and port >> 16 == 0:
            raise Refused(ErrorCode.BAD_REQUEST, "RESPONSE-PORT names no port")
        source = self.changed(flow.server, change)
        client = flow.client if port is None else Address(flow.client.host, port >> 16)
        response = request.success().add_xor_address(Attribute.XOR_MAPPED_ADDRESS, flow.client)
        response.add(Attribute.RESPONSE_ORIGIN, encode_address(self._seen(source)))
        other = self.changed(flow.server, CHANGE_HOST | CHANGE_PORT)
        response.add(Attribute.OTHER_ADDRESS, encode_address(self._seen(other)))
        if padding is not None:
            response.add(Attribute.PADDING, bytes(len(padding)))
        return response, Flow(flow.transport, client, source)

    def _seen(self, address: Address) -> Address:
        return Address(self.advertised.get(address.host, address.host), address.port)
