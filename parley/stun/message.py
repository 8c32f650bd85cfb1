"""STUN messages (RFC 8489 section 5): parsed lazily, written once.

An attribute's value stays bytes until it is asked for. What follows the attributes that protect a message is ignored, as
section 14.5 wants, so nothing unprotected is read from a protected message.
"""

from __future__ import annotations

import secrets
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from parley.stun.addresses import Address, decode_xor_address, encode_xor_address
from parley.stun.codes import HEADER_SIZE, MAGIC_COOKIE, Attribute, ErrorCode, MessageClass, Method
from parley.stun.errors import StunParseError

MAX_ATTRIBUTES: Final = 64
_CLASS_BITS: Final = 0x110
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


@dataclass(slots=True)
class Message:
    """One message. ``transaction_id``: 12 bytes; ``attributes``: in order, types with values as they stand, without padding.

    A parsed message also keeps where it was read from: ``raw``, and the offsets of its protecting attributes in it, -1 for
    none; `parley.stun.integrity` checks them.
    """

    method: int
    message_class: MessageClass
    transaction_id: bytes = field(default_factory=lambda: secrets.token_bytes(12))
    attributes: list[tuple[int, bytes]] = field(default_factory=list)
    raw: bytes = b""
    integrity_at: int = -1
    integrity_sha256_at: int = -1
    fingerprint_at: int = -1

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """Reads one whole message. Raises StunParseError."""
        if len(data) < HEADER_SIZE:
            raise StunParseError(f"a message has {len(data)} bytes, a header alone has {HEADER_SIZE}")
        message_type = int.from_bytes(data[:2], "big")
        length = int.from_bytes(data[2:4], "big")
        if message_type & 0xC000:
            raise StunParseError("the first two bits of a message are not zero")
        if data[4:8] != MAGIC_COOKIE:
            raise StunParseError("a message lacks the magic cookie")
        if length % 4 or length != len(data) - HEADER_SIZE:
            raise StunParseError(f"a message says it has {length} bytes of attributes and has {len(data) - HEADER_SIZE}")
        message = cls(_method_of(message_type), MessageClass(message_type & _CLASS_BITS), data[8:20], raw=data)
        message._read_attributes(data)
        return message

    def _read_attributes(self, data: bytes) -> None:
        end, offset = len(data), HEADER_SIZE
        attributes = self.attributes
        count = 0
        while offset < end:
            count += 1
            if count > MAX_ATTRIBUTES:
                raise StunParseError(f"a message has more than {MAX_ATTRIBUTES} attributes")
            kind = int.from_bytes(data[offset : offset + 2], "big")
            start = offset + 4
            size = int.from_bytes(data[offset + 2 : start], "big")
            if start + size > end:
                raise StunParseError(f"attribute 0x{kind:04x} of {size} bytes reaches beyond its message")
            if self.fingerprint_at >= 0:
                raise StunParseError("FINGERPRINT is not the last attribute")
            if kind == Attribute.FINGERPRINT:
                self.fingerprint_at = offset
            elif self.integrity_sha256_at >= 0 or (self.integrity_at >= 0 and kind != Attribute.MESSAGE_INTEGRITY_SHA256):
                pass  # unprotected
            elif kind == Attribute.MESSAGE_INTEGRITY:
                self.integrity_at = offset
            elif kind == Attribute.MESSAGE_INTEGRITY_SHA256:
                self.integrity_sha256_at = offset
            else:
                attributes.append((kind, data[start : start + size]))
            offset = start + size + (-size & 3)

    def __bytes__(self) -> bytes:
        """The message without protection; `parley.stun.integrity.protect` adds it."""
        body = b"".join(
            kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + _PADDING[len(value) & 3]
            for kind, value in self.attributes
        )
        return (
            self.message_type.to_bytes(2, "big") + len(body).to_bytes(2, "big") + MAGIC_COOKIE + self.transaction_id + body
        )

    @property
    def message_type(self) -> int:
        """The 14 bits of method and class as they stand in the header."""
        method = self.method
        return (method & 0x00F) | (method & 0x070) << 1 | (method & 0xF80) << 2 | self.message_class

    def get(self, kind: int) -> bytes | None:
        """The value of the first attribute of that type."""
        for found, value in self.attributes:
            if found == kind:
                return value
        return None

    def get_int(self, kind: int, size: int = 4) -> int | None:
        """The number in an attribute of ``size`` bytes. Raises StunParseError when it has another size."""
        value = self.get(kind)
        if value is None:
            return None
        if len(value) != size:
            raise StunParseError(f"attribute 0x{kind:04x} has {len(value)} bytes and not {size}")
        return int.from_bytes(value, "big")

    def get_text(self, kind: int, limit: int) -> str | None:
        """The text in an attribute. Raises StunParseError when it is longer than ``limit`` bytes or no UTF-8."""
        value = self.get(kind)
        if value is None:
            return None
        if len(value) > limit:
            raise StunParseError(f"attribute 0x{kind:04x} has {len(value)} bytes, at most {limit} are allowed")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise StunParseError(f"attribute 0x{kind:04x} is no UTF-8") from None

    def get_xor_address(self, kind: int) -> Address | None:
        """The address in an XOR attribute. Raises StunParseError."""
        value = self.get(kind)
        return None if value is None else decode_xor_address(value, self.transaction_id)

    def get_xor_addresses(self, kind: int) -> list[Address]:
        """The addresses of all XOR attributes of that type. Raises StunParseError."""
        return [decode_xor_address(value, self.transaction_id) for found, value in self.attributes if found == kind]

    def add(self, kind: int, value: bytes = b"") -> Message:
        """Appends an attribute."""
        self.attributes.append((kind, value))
        return self

    def add_int(self, kind: int, value: int, size: int = 4) -> Message:
        """Appends a number."""
        return self.add(kind, value.to_bytes(size, "big"))

    def add_xor_address(self, kind: int, address: Address) -> Message:
        """Appends an address, masked."""
        return self.add(kind, encode_xor_address(address, self.transaction_id))

    def unknown_attributes(self, known: Container[int]) -> list[int]:
        """Types that must be understood and are not in ``known``, in order, each once."""
        return list(dict.fromkeys(kind for kind, _ in self.attributes if kind < 0x8000 and kind not in known))

    def success(self) -> Message:
        """An empty success response to this request."""
        return Message(self.method, MessageClass.SUCCESS, self.transaction_id)

    def error(self, code: ErrorCode, reason: str | None = None) -> Message:
        """An error response to this request, with the usual phrase of its code unless another is given."""
        return Message(self.method, MessageClass.ERROR, self.transaction_id).add(
            Attribute.ERROR_CODE, encode_error(code, code.reason if reason is None else reason)
        )

    @property
    def error_code(self) -> tuple[int, str] | None:
        """Number and phrase of an error response. Raises StunParseError."""
        value = self.get(Attribute.ERROR_CODE)
        return None if value is None else decode_error(value)


def _method_of(message_type: int) -> int:
    method = (message_type & 0x00F) | (message_type & 0x0E0) >> 1 | (message_type & 0x3E00) >> 2
    try:
        return Method(method)
    except ValueError:
        return method


def encode_error(code: int, reason: str) -> bytes:
    """The value of ERROR-CODE (RFC 8489 section 14.8)."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()[:500]


def decode_error(value: bytes) -> tuple[int, str]:
    """Number and phrase in a value of ERROR-CODE. Raises StunParseError."""
    if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        raise StunParseError("ERROR-CODE holds no error")
    return (value[2] & 7) * 100 + value[3], value[4:].decode(errors="replace")
