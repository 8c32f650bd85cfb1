"""One packet of an MS-TURN client: where it goes and as what, decided on an allocation's own state.

These run for every packet; None means that it is to be dropped, in silence. A Send request to a peer that has no permission
yet is not decided here: it makes one, which is the server's affair (`parley.stun.ms.server`).
"""

from __future__ import annotations

import hmac
import os
from typing import Final, NamedTuple

from parley.stun.addresses import Address, encode_address
from parley.stun.ms.codes import COOKIE_ATTRIBUTE, HEADER_SIZE, MsAttribute, MsType
from parley.stun.ms.framing import FrameType, encode_data, encode_frame
from parley.stun.turn.allocations import Allocation
from parley.stun.turn.forwarding import Outgoing, relay_to
from parley.stun.turn.peers import PeerPolicy

SEND_REQUEST: Final = MsType.SEND.to_bytes(2, "big")
_DATA_HEAD: Final = MsType.DATA.to_bytes(2, "big")
_REMOTE_ADDRESS: Final = MsAttribute.REMOTE_ADDRESS.to_bytes(2, "big")
_DATA: Final = MsAttribute.DATA.to_bytes(2, "big")
_FIRST: Final = HEADER_SIZE + len(COOKIE_ATTRIBUTE)
_INTEGRITY_ATTRIBUTE: Final = 24
MAX_PAYLOAD: Final = 65_000


class Sent(NamedTuple):
    """What a Send request asks for."""

    peer: Address
    payload: bytes


def read_send(data: bytes, key: bytes) -> Sent | None:
    """What a Send request says; None unless it is well-formed and made with the allocation's key.

    It needs neither nonce nor realm, and its other attributes do not matter (MS-TURN section 3.2.5.2).
    """
    end = len(data) - _INTEGRITY_ATTRIBUTE
    if end < _FIRST or data[HEADER_SIZE:_FIRST] != COOKIE_ATTRIBUTE or (data[2] << 8 | data[3]) != len(data) - HEADER_SIZE:
        return None
    host, port, payload = "", 0, None
    at = _FIRST
    while at + 4 <= end:
        kind, size = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
        start = at + 4
        at = start + size
        if kind == MsAttribute.DESTINATION_ADDRESS:
            if size != 8 or data[start + 1] != 1:
                return None
            host = f"{data[start + 4]}.{data[start + 5]}.{data[start + 6]}.{data[start + 7]}"
            port = data[start + 2] << 8 | data[start + 3]
        elif kind == MsAttribute.DATA:
            payload = data[start:at]
    if at != end or not host or payload is None or data[end : end + 4] != b"\x00\x08\x00\x14":
        return None
    text = data[:end]
    if not hmac.compare_digest(data[end + 4 :], hmac.digest(key, text + bytes(-end % 64), "sha1")):
        return None
    return Sent(Address(host, port), payload)


def from_send(allocation: Allocation, data: bytes, peers: PeerPolicy, now: float) -> Outgoing | None:
    """Relay, peer and payload of a Send request to a peer that has a permission."""
    sent = read_send(data, allocation.key)
    if sent is None or not allocation.permits(sent.peer.host, now) or not peers.allows_port(*sent.peer):
        return None
    relay = relay_to(allocation, sent.peer.host)
    return None if relay is None else (relay, sent.peer, sent.payload)


def from_raw(allocation: Allocation, payload: bytes, now: float) -> Outgoing | None:
    """Relay, peer and payload of what a client sends that is no message of MS-TURN: it is for the active destination."""
    peer = allocation.destination
    if peer is None or not allocation.permits(peer.host, now):
        return None
    relay = relay_to(allocation, peer.host)
    return None if relay is None else (relay, peer, payload)


def to_client(allocation: Allocation, peer: Address, payload: bytes, now: float, *, framed: bool) -> bytes | None:
    """What the client gets for a packet of a peer: the bare payload from the active destination, else a Data indication.

    ``framed``: the client is on a stream. Each frame of data stands for one packet.
    """
    if not allocation.permits(peer[0], now) or len(payload) > MAX_PAYLOAD:
        return None
    if peer == allocation.destination:
        return encode_data(payload) if framed else payload
    message = data_indication(peer, payload)
    return encode_frame(FrameType.CONTROL, message) if framed else message


def data_indication(peer: Address, payload: bytes) -> bytes:
    """A Data indication, which nothing protects."""
    value = encode_address(Address(peer[0], peer[1]))
    address = _REMOTE_ADDRESS + len(value).to_bytes(2, "big") + value
    body = COOKIE_ATTRIBUTE + address + _DATA + len(payload).to_bytes(2, "big") + payload
    return _DATA_HEAD + len(body).to_bytes(2, "big") + os.urandom(16) + body
