"""Transport addresses as attributes carry them (RFC 8489 sections 14.1 and 14.2)."""

from __future__ import annotations

import socket
from enum import IntEnum
from typing import NamedTuple

from parley.stun.codes import MAGIC_COOKIE
from parley.stun.errors import StunParseError


class Family(IntEnum):
    """Address families as STUN numbers them."""

    IPV4 = 1
    IPV6 = 2


class Address(NamedTuple):
    """An IP address in its shortest text form, and a port."""

    host: str
    port: int

    @property
    def family(self) -> Family:
        """IPv4 or IPv6."""
        return Family.IPV6 if ":" in self.host else Family.IPV4

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def pack_ip(host: str) -> bytes:
    """4 or 16 bytes. Raises ValueError when the text is no address."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        raise ValueError(f"not an IP address: {host!r}") from None


def unpack_ip(packed: bytes) -> str:
    """The text of 4 or 16 bytes."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def encode_address(address: Address) -> bytes:
    """The value of MAPPED-ADDRESS and its like."""
    packed = pack_ip(address.host)
    return b"\0" + (b"\x01" if len(packed) == 4 else b"\x02") + address.port.to_bytes(2, "big") + packed


def decode_address(value: bytes) -> Address:
    """The address in a value of MAPPED-ADDRESS and its like. Raises StunParseError."""
    if (len(value) == 8 and value[1] == Family.IPV4) or (len(value) == 20 and value[1] == Family.IPV6):
        return Address(unpack_ip(value[4:]), int.from_bytes(value[2:4], "big"))
    raise StunParseError(f"an address attribute has {len(value)} bytes and family {value[1] if len(value) > 1 else 'none'}")


def xor_address(value: bytes, transaction_id: bytes) -> bytes:
    """Masks the value of an XOR address attribute, or unmasks it; ``transaction_id``: the 12 bytes after the cookie."""
    mask = MAGIC_COOKIE + transaction_id
    size = len(value) - 2
    masked = int.from_bytes(value[2:], "big") ^ int.from_bytes((mask[:2] + mask)[:size], "big")
    return value[:2] + masked.to_bytes(size, "big")


def encode_xor_address(address: Address, transaction_id: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS and its like."""
    return xor_address(encode_address(address), transaction_id)


def decode_xor_address(value: bytes, transaction_id: bytes) -> Address:
    """The address in a value of XOR-MAPPED-ADDRESS and its like. Raises StunParseError."""
    if len(value) not in (8, 20):
        raise StunParseError(f"an address attribute has {len(value)} bytes")
    return decode_address(xor_address(value, transaction_id))
