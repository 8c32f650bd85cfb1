"""MS-TURN messages (MS-TURN section 2.2): the cookie attribute first, nothing padded, a transaction id of 16 bytes.

A codec of its own: one that took both dialects would sooner or later mix them up.
"""

from __future__ import annotations

import secrets
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from parley.stun.addresses import Address, decode_address, encode_address
from parley.stun.errors import StunParseError
from parley.stun.message import decode_error, encode_error
from parley.stun.ms.codes import (
    COOKIE_ATTRIBUTE,
    ERROR_BITS,
    HEADER_SIZE,
    INTEGRITY_SIZE,
    RESPONSE_BITS,
    TRANSACTION_ID_SIZE,
    MsAttribute,
    MsErrorCode,
)

MAX_ATTRIBUTES: Final = 64
CONNECTION_ID_SIZE: Final = 20
_FIRST_ATTRIBUTE: Final = HEADER_SIZE + len(COOKIE_ATTRIBUTE)


def is_ms_message(data: bytes) -> bool:
    """Whether bytes begin as a message of this dialect does (MS-TURN section 3.1.10)."""
    return data[HEADER_SIZE:_FIRST_ATTRIBUTE] == COOKIE_ATTRIBUTE and data[0] < 0x40


def xor_with_transaction(value: bytes, transaction_id: bytes) -> bytes:
    """Masks the value of XOR-MAPPED-ADDRESS, or unmasks it: port and address each with the first bytes of the id."""
    size = len(value) - 2
    mask = (transaction_id[:2] + transaction_id)[:size]
    masked = int.from_bytes(value[2:], "big") ^ int.from_bytes(mask, "big")
    return value[:2] + masked.to_bytes(size, "big")


@dataclass(slots=True)
class MsMessage:
    """One message. ``kind``: type with class; ``transaction_id``: 16 bytes; ``attributes``: in order, without the cookie.

    A parsed message also keeps what it was read from, ``raw``, and the offset of MESSAGE-INTEGRITY in it, -1 for none;
    `parley.stun.ms.integrity` checks it.
    """

    kind: int
    transaction_id: bytes = field(default_factory=lambda: secrets.token_bytes(TRANSACTION_ID_SIZE))
    attributes: list[tuple[int, bytes]] = field(default_factory=list)
    raw: bytes = b""
    integrity_at: int = -1

    @classmethod
    def parse(cls, data: bytes) -> MsMessage:
        """Reads one whole message. Raises StunParseError."""
        if len(data) < _FIRST_ATTRIBUTE:
            raise StunParseError(f"an MS-TURN message has {len(data)} bytes, the shortest has {_FIRST_ATTRIBUTE}")
        if not is_ms_message(data):
            raise StunParseError("an MS-TURN message does not begin with its cookie")
        length = int.from_bytes(data[2:4], "big")
        if length != len(data) - HEADER_SIZE:
            raise StunParseError(f"a message says it has {length} bytes of attributes and has {len(data) - HEADER_SIZE}")
        message = cls(int.from_bytes(data[:2], "big"), data[4:HEADER_SIZE], raw=data)
        message._read_attributes(data)
        return message

    def _read_attributes(self, data: bytes) -> None:
        end, offset = len(data), _FIRST_ATTRIBUTE
        attributes = self.attributes
        while offset < end:
            if len(attributes) == MAX_ATTRIBUTES:
                raise StunParseError(f"a message has more than {MAX_ATTRIBUTES} attributes")
            if self.integrity_at >= 0:
                raise StunParseError("MESSAGE-INTEGRITY is not the last attribute")
            start = offset + 4
            kind = int.from_bytes(data[offset : offset + 2], "big")
            size = int.from_bytes(data[offset + 2 : start], "big")
            if start > end or start + size > end:
                raise StunParseError(f"attribute 0x{kind:04x} of {size} bytes reaches beyond its message")
            if kind != MsAttribute.MESSAGE_INTEGRITY:
                attributes.append((kind, data[start : start + size]))
            elif size != INTEGRITY_SIZE:
                raise StunParseError(f"MESSAGE-INTEGRITY has {size} bytes and not {INTEGRITY_SIZE}")
            else:
                self.integrity_at = offset
            offset = start + size

    def __bytes__(self) -> bytes:
        """The message without MESSAGE-INTEGRITY; `parley.stun.ms.integrity.protect` adds it."""
        body = COOKIE_ATTRIBUTE + b"".join(
            kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for kind, value in self.attributes
        )
        return self.kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + self.transaction_id + body

    def get(self, kind: int) -> bytes | None:
        """The value of the first attribute of that type."""
        for found, value in self.attributes:
            if found == kind:
                return value
        return None

    def get_int(self, kind: int) -> int | None:
        """The number in an attribute of four bytes. Raises StunParseError when it has another size."""
        value = self.get(kind)
        if value is None:
            return None
        if len(value) != 4:
            raise StunParseError(f"attribute 0x{kind:04x} has {len(value)} bytes and not 4")
        return int.from_bytes(value, "big")

    def get_address(self, kind: int) -> Address | None:
        """The address in an attribute that is not masked. Raises StunParseError."""
        value = self.get(kind)
        return None if value is None else decode_address(value)

    @property
    def mapped_address(self) -> Address | None:
        """XOR-MAPPED-ADDRESS: the client as the server sees it. Raises StunParseError."""
        value = self.get(MsAttribute.XOR_MAPPED_ADDRESS)
        if value is None:
            return None
        if len(value) not in (8, 20):
            raise StunParseError(f"an address attribute has {len(value)} bytes")
        return decode_address(xor_with_transaction(value, self.transaction_id))

    @property
    def sequence(self) -> tuple[bytes, int] | None:
        """MS-SEQUENCE-NUMBER: connection id of 20 bytes, and number (MS-TURN section 2.2.2.19). Raises StunParseError."""
        value = self.get(MsAttribute.MS_SEQUENCE_NUMBER)
        if value is None:
            return None
        if len(value) != CONNECTION_ID_SIZE + 4:
            raise StunParseError(f"MS-SEQUENCE-NUMBER has {len(value)} bytes and not {CONNECTION_ID_SIZE + 4}")
        return value[:CONNECTION_ID_SIZE], int.from_bytes(value[CONNECTION_ID_SIZE:], "big")

    @property
    def error_code(self) -> tuple[int, str] | None:
        """Number and phrase of an error response. Raises StunParseError."""
        value = self.get(MsAttribute.ERROR_CODE)
        return None if value is None else decode_error(value)

    def add(self, kind: int, value: bytes) -> MsMessage:
        """Appends an attribute."""
        self.attributes.append((kind, value))
        return self

    def add_int(self, kind: int, value: int) -> MsMessage:
        """Appends a number of four bytes."""
        return self.add(kind, value.to_bytes(4, "big"))

    def add_address(self, kind: int, address: Address) -> MsMessage:
        """Appends an address as it is."""
        return self.add(kind, encode_address(address))

    def add_mapped_address(self, address: Address) -> MsMessage:
        """Appends XOR-MAPPED-ADDRESS."""
        return self.add(MsAttribute.XOR_MAPPED_ADDRESS, xor_with_transaction(encode_address(address), self.transaction_id))

    def add_sequence(self, connection_id: bytes, number: int) -> MsMessage:
        """Appends MS-SEQUENCE-NUMBER."""
        return self.add(MsAttribute.MS_SEQUENCE_NUMBER, connection_id + number.to_bytes(4, "big"))

    def unknown_attributes(self, known: Container[int]) -> list[int]:
        """Types that must be understood and are not in ``known``, in order, each once."""
        return list(dict.fromkeys(kind for kind, _ in self.attributes if kind < 0x8000 and kind not in known))

    def success(self) -> MsMessage:
        """An empty success response to this request."""
        return MsMessage(self.kind | RESPONSE_BITS, self.transaction_id)

    def error(self, code: MsErrorCode, reason: str = "") -> MsMessage:
        """An error response to this request."""
        return MsMessage(self.kind | ERROR_BITS, self.transaction_id).add(
            MsAttribute.ERROR_CODE, encode_error(code, reason or code.reason)
        )
