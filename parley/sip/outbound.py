"""Client-initiated connections (RFC 5626): what a registrar and an edge have to know, and STUN on the SIP port.

Only the STUN binding request that keeps a UDP flow alive is spoken here (section 4.4.2; RFC 8489 for its form).
"""

from __future__ import annotations

from parley.sip.message import Request
from parley.sip.nameaddr import NameAddr
from parley.stun.addresses import Address
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.message import Message

FLOW_TIMER_S = 120
"""What Flow-Timer tells clients: the longest silence on a flow (section 4.4.1)."""


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
    try:
        request = Message.parse(data)
    except StunParseError:
        return None
    if request.method != Method.BINDING or request.message_class is not MessageClass.REQUEST:
        return None
    client = Address(remote[0].partition("%")[0], remote[1])
    return bytes(request.success().add_xor_address(Attribute.XOR_MAPPED_ADDRESS, client))
