"""Client-initiated connections (RFC 5626): what a registrar and an edge have to know, and STUN on the SIP port.

Only the STUN binding request that keeps a UDP flow alive is spoken here (section 4.4.2; RFC 8489 for its form).
"""

from __future__ import annotations

import ipaddress
import struct

from parley.sip.message import Request
from parley.sip.nameaddr import NameAddr

FLOW_TIMER_S = 120
"""What Flow-Timer tells clients: the longest silence on a flow (section 4.4.1)."""

_STUN_COOKIE = 0x2112A442
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101
_XOR_MAPPED_ADDRESS = 0x0020


def option_tags(request: Request, header: str) -> frozenset[str]:
    """The option tags of Supported, Require or Proxy-Require, in lower case."""
    return frozenset(value.lower() for value in request.values(header))


def instance_of(contact: NameAddr) -> str:
    """The ``+sip.instance`` of a contact without quotes and angle brackets; "" when it has none."""
    value = contact.params.get("+sip.instance") or ""
    return value.strip('"').strip("<>")


def reg_id_of(contact: NameAddr) -> int:
    """The ``reg-id`` of a contact, 1 to 2**31-1; 0 when it has none or an unusable one (section 4.2)."""
    value = contact.params.get("reg-id")
    if not value or not (value.isascii() and value.isdigit()) or len(value) > 10:
        return 0
    number = int(value)
    return number if 0 < number < 2**31 else 0


def stun_binding_response(data: bytes, remote: tuple[str, int]) -> bytes | None:
    """The answer to a STUN binding request with the address it came from; None for anything else."""
    if len(data) < 20:
        return None
    kind, length, cookie = struct.unpack("!HHI", data[:8])
    if kind != _BINDING_REQUEST or cookie != _STUN_COOKIE or length != len(data) - 20 or length % 4:
        return None
    transaction = data[8:20]
    address = ipaddress.ip_address(remote[0].partition("%")[0])
    mask = struct.pack("!I", _STUN_COOKIE) + transaction
    packed = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    family = 1 if address.version == 4 else 2
    value = struct.pack("!BBH", 0, family, remote[1] ^ (_STUN_COOKIE >> 16)) + packed
    attribute = struct.pack("!HH", _XOR_MAPPED_ADDRESS, len(value)) + value
    return struct.pack("!HHI", _BINDING_SUCCESS, len(attribute), _STUN_COOKIE) + transaction + attribute
