"""Messages of [MS-ICE] checks: an RFC 3489 header without a cookie, attributes that are not filled to four bytes.

MESSAGE-INTEGRITY is the last attribute, made as that of MS-TURN (`parley.stun.ms.integrity`).
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from parley.stun.addresses import Address, decode_address, encode_address
from parley.stun.codes import HEADER_SIZE, MAGIC_COOKIE, Attribute, MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.message import decode_error

MAX_ATTRIBUTES: Final = 16
TRANSACTION_ID_SIZE: Final = 16
_CLASS_BITS: Final = 0x110


@dataclass(slots=True)
class LegacyMessage:
    """One Binding message. ``transaction_id``: 16 bytes; ``integrity_at``: where MESSAGE-INTEGRITY is in ``raw``, or -1."""

    message_class: MessageClass
    transaction_id: bytes = field(default_factory=lambda: secrets.token_bytes(TRANSACTION_ID_SIZE))
    attributes: list[tuple[int, bytes]] = field(default_factory=list)
    raw: bytes = b""
    integrity_at: int = -1

    @classmethod
    def parse(cls, data: bytes) -> LegacyMessage:
        """Reads one whole message. Raises StunParseError."""
        if len(data) < HEADER_SIZE:
            raise StunParseError(f"a message has {len(data)} bytes, a header alone has {HEADER_SIZE}")
        message_type = int.from_bytes(data[:2], "big")
        if message_type & ~_CLASS_BITS != Method.BINDING:
            raise StunParseError("a message is no Binding message")
        if data[4:8] == MAGIC_COOKIE:
            raise StunParseError("a message has the magic cookie")
        if int.from_bytes(data[2:4], "big") != len(data) - HEADER_SIZE:
            raise StunParseError("a message has another length than it says")
        message = cls(MessageClass(message_type & _CLASS_BITS), data[4:20], raw=data)
        offset = HEADER_SIZE
        while offset < len(data):
            kind = int.from_bytes(data[offset : offset + 2], "big")
            size = int.from_bytes(data[offset + 2 : offset + 4], "big")
            end = offset + 4 + size
            if end > len(data) or message.integrity_at >= 0 or len(message.attributes) >= MAX_ATTRIBUTES:
                raise StunParseError(f"attribute 0x{kind:04x} of {size} bytes is out of place")
            if kind != Attribute.MESSAGE_INTEGRITY:
                message.attributes.append((kind, data[offset + 4 : end]))
            elif size == 20:
                message.integrity_at = offset
            else:
                raise StunParseError(f"MESSAGE-INTEGRITY has {size} bytes and not 20")
            offset = end
        return message

    def __bytes__(self) -> bytes:
        """The message without protection."""
        body = b"".join(kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for kind, value in self.attributes)
        head = (Method.BINDING | self.message_class).to_bytes(2, "big") + len(body).to_bytes(2, "big")
        return head + self.transaction_id + body

    def get(self, kind: int) -> bytes | None:
        """The value of the first attribute of that type."""
        return next((value for found, value in self.attributes if found == kind), None)

    @property
    def mapped_address(self) -> Address | None:
        """The address in a response, masked with the transaction id or plain. Raises StunParseError."""
        masked = self.get(Attribute.XOR_MAPPED_ADDRESS)
        if masked is not None:
            return decode_address(_mask(masked, self.transaction_id))
        plain = self.get(Attribute.MAPPED_ADDRESS)
        return None if plain is None else decode_address(plain)

    def add_mapped_address(self, address: Address) -> LegacyMessage:
        """Appends it, masked with the transaction id."""
        self.attributes.append((Attribute.XOR_MAPPED_ADDRESS, _mask(encode_address(address), self.transaction_id)))
        return self

    @property
    def error_code(self) -> int | None:
        """The number of an error response. Raises StunParseError."""
        value = self.get(Attribute.ERROR_CODE)
        return None if value is None else decode_error(value)[0]


def protect_legacy(message: LegacyMessage, key: bytes) -> bytes:
    """The bytes of a message with MESSAGE-INTEGRITY at its end."""
    data = bytes(message)
    data = data[:2] + (len(data) + 24 - HEADER_SIZE).to_bytes(2, "big") + data[4:]
    return data + Attribute.MESSAGE_INTEGRITY.to_bytes(2, "big") + b"\0\x14" + padded_digest(data, key)


def legacy_integrity_is_right(message: LegacyMessage, key: bytes) -> bool:
    """Whether a parsed message has MESSAGE-INTEGRITY made with that key."""
    at = message.integrity_at
    return at >= 0 and hmac.compare_digest(message.raw[at + 4 :], padded_digest(message.raw[:at], key))


def padded_digest(text: bytes, key: bytes) -> bytes:
    """HMAC-SHA1 of a text filled with zero bytes to a multiple of 64."""
    return hmac.digest(key, text + bytes(-len(text) % 64), "sha1")


def _mask(value: bytes, transaction_id: bytes) -> bytes:
    """A value of XOR-MAPPED-ADDRESS: the port by the first two bytes of the id, the address by the first ones."""
    if len(value) not in (8, 20):
        raise StunParseError(f"an address attribute has {len(value)} bytes")
    mask = bytes(2) + transaction_id[:2] + transaction_id
    return bytes(byte ^ other for byte, other in zip(value, mask, strict=False))
