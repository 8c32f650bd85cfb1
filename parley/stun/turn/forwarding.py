"""One packet: where it goes and as what, decided on an allocation's own state (RFC 8656 sections 11 and 12).

These run for every packet, so they read bytes where they stand, make no objects on the way, and answer None for a packet to
be dropped; why it is dropped matters to nobody, RFC 8656 wants silence. A live channel is a permission for the peer it
is bound to: clients that refresh their channels alone, as some do, are not cut off while those last.
"""

from __future__ import annotations

import os
from typing import Final

from parley.stun.addresses import Address, encode_xor_address, unpack_ip
from parley.stun.codes import HEADER_SIZE, MAGIC_COOKIE, Attribute
from parley.stun.turn.allocations import Allocation, Relay
from parley.stun.turn.peers import PeerPolicy

SEND_INDICATION: Final = b"\x00\x16"
_DATA_HEAD: Final = b"\x00\x17"
_XOR_PEER_ADDRESS: Final = Attribute.XOR_PEER_ADDRESS.to_bytes(2, "big")
_DATA: Final = Attribute.DATA.to_bytes(2, "big")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
_COOKIE: Final = int.from_bytes(MAGIC_COOKIE, "big")
_PORT_MASK: Final = _COOKIE >> 16
_MAX_PAYLOAD: Final = 65507

Outgoing = tuple[Relay, Address, bytes]


def relay_to(allocation: Allocation, host: str) -> Relay | None:
    """The relay that reaches that peer address."""
    is_ipv6 = ":" in host
    for relay in allocation.relays:
        if (":" in relay.local.host) is is_ipv6:
            return relay
    return None


def from_channel(allocation: Allocation, data: bytes, now: float) -> Outgoing | None:
    """Relay, peer and payload of a ChannelData message from the client. What follows the payload is padding."""
    if len(data) < 4:
        return None
    channel = allocation.channels.get(data[0] << 8 | data[1])
    if channel is None or channel.expires_at <= now:
        return None
    end = 4 + (data[2] << 8 | data[3])
    if len(data) < end:
        return None
    relay = relay_to(allocation, channel.peer.host)
    return None if relay is None else (relay, channel.peer, data[4:end])


def from_indication(allocation: Allocation, data: bytes, peers: PeerPolicy, now: float) -> Outgoing | None:
    """Relay, peer and payload of a Send indication from the client.

    It needs a permission for the peer. One with an attribute that must be understood and is not is dropped, and so is one
    with DONT-FRAGMENT where the relay cannot promise it (RFC 8656 section 11.2), or to a relay of TCP (RFC 6062 section 5).
    """
    end = len(data)
    if end < HEADER_SIZE or data[4:8] != MAGIC_COOKIE or HEADER_SIZE + (data[2] << 8 | data[3]) != end:
        return None
    host, port, payload, whole = "", 0, None, False
    at = HEADER_SIZE
    while at + 4 <= end:
        kind = data[at] << 8 | data[at + 1]
        size = data[at + 2] << 8 | data[at + 3]
        start = at + 4
        at = start + size + (-size & 3)
        if at > end:
            return None
        if kind == 0x0012:
            if host:
                continue
            host, port = _peer(data, start, size)
            if not host:
                return None
        elif kind == 0x0013:
            if payload is None:
                payload = data[start : start + size]
        elif kind == 0x001A:
            whole = True
        elif kind < 0x8000:
            return None
    if payload is None or not host or allocation.permissions.get(host, 0.0) <= now or not peers.allows_port(host, port):
        return None
    relay = relay_to(allocation, host)
    if relay is None or relay.stream or (whole and not relay.dont_fragment):
        return None
    return relay, Address(host, port), payload


def _peer(data: bytes, start: int, size: int) -> tuple[str, int]:
    """Host and port in the value of XOR-PEER-ADDRESS; no host when it is malformed."""
    if size < 8:
        return "", 0
    port = (data[start + 2] << 8 | data[start + 3]) ^ _PORT_MASK
    if size == 8 and data[start + 1] == 1:
        packed = int.from_bytes(data[start + 4 : start + 8], "big") ^ _COOKIE
        return f"{packed >> 24}.{packed >> 16 & 255}.{packed >> 8 & 255}.{packed & 255}", port
    if size == 20 and data[start + 1] == 2:
        packed = int.from_bytes(data[start + 4 : start + 20], "big") ^ int.from_bytes(data[4:20], "big")
        return unpack_ip(packed.to_bytes(16, "big")), port
    return "", 0


def to_client(allocation: Allocation, peer: Address, payload: bytes, now: float, *, padded: bool) -> bytes | None:
    """What the client gets for a packet of a peer: ChannelData where a channel is bound, else a Data indication.

    ``peer``: its address, a plain pair will do; ``padded``: the client is on a stream.
    """
    size = len(payload)
    channel = allocation.channel_by_peer.get(peer)
    if channel is not None and channel.expires_at > now:
        head = channel.number.to_bytes(2, "big") + size.to_bytes(2, "big")
        return head + payload + _PADDING[size & 3] if padded else head + payload
    if allocation.permissions.get(peer[0], 0.0) <= now or size > _MAX_PAYLOAD:
        return None
    return data_indication(peer, payload)


def data_indication(peer: Address, payload: bytes) -> bytes:
    """A Data indication. ``payload``: up to 65 507 bytes, what a datagram can hold."""
    transaction_id = os.urandom(12)
    size = len(payload)
    value = encode_xor_address(Address(peer[0], peer[1]), transaction_id)
    body = (
        _XOR_PEER_ADDRESS
        + len(value).to_bytes(2, "big")
        + value
        + _DATA
        + size.to_bytes(2, "big")
        + payload
        + _PADDING[size & 3]
    )
    return _DATA_HEAD + len(body).to_bytes(2, "big") + MAGIC_COOKIE + transaction_id + body
