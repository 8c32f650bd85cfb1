"""Connectivity checks and their answers on the wire, in the three forms that peers use.

`WireForm.RFC`: RFC 8445 section 7.1. `WireForm.MS_ICE2`: the same header, but MESSAGE-INTEGRITY covers the message as it is
sent, the length with FINGERPRINT in it, filled with zero bytes to a multiple of 64; CANDIDATE-IDENTIFIER and
IMPLEMENTATION-VERSION go along, and values are filled with NULs as old readers expect no filling between attributes
([MS-ICE2] 2.2, 3.1.4.8.2). `WireForm.MS_ICE`: `parley.ice.legacy`. Which of the first two a peer uses shows in its
integrity, so `Packet.form_for` finds it with the key.
"""

from __future__ import annotations

import hmac
import secrets
import zlib
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from parley.ice.candidates import Dialect
from parley.ice.legacy import LegacyMessage, legacy_integrity_is_right, padded_digest, protect_legacy
from parley.stun.addresses import Address, decode_address
from parley.stun.codes import FINGERPRINT_XOR, HEADER_SIZE, MAGIC_COOKIE, Attribute, ErrorCode, MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.integrity import fingerprint_is_right, integrity_is_right, protect
from parley.stun.message import Message

IMPLEMENTATION_VERSION: Final = 2
MAX_USERNAME: Final = 513
_UNDERSTOOD: Final = frozenset({
    Attribute.USERNAME, Attribute.PRIORITY, Attribute.USE_CANDIDATE, Attribute.XOR_MAPPED_ADDRESS, Attribute.MAPPED_ADDRESS,
    Attribute.ERROR_CODE, Attribute.UNKNOWN_ATTRIBUTES,
})  # fmt: skip


class WireForm(Enum):
    """How messages are written."""

    RFC = "rfc"
    MS_ICE2 = "ms-ice2"
    MS_ICE = "ms-ice"

    @classmethod
    def first_of(cls, dialect: Dialect) -> WireForm:
        """What to begin with towards a peer of that dialect."""
        return cls(dialect.value) if dialect is not Dialect.RFC else cls.RFC


@dataclass(frozen=True, slots=True)
class Check:
    """What a Binding request of a connectivity check says.

    ``username``: without NULs at its end; ``controlling``: None when the peer does not say; ``foundation``: of the candidate
    it comes from, told in [MS-ICE2] only. [MS-ICE] tells nothing but the user name.
    """

    username: bytes
    priority: int = 0
    controlling: bool | None = None
    tie_breaker: int = 0
    nominated: bool = False
    foundation: str = ""


@dataclass(slots=True)
class Packet:
    """One message as it came: of any form, not yet known to be right."""

    message_class: MessageClass
    transaction_id: bytes
    message: Message | LegacyMessage = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, dialect: Dialect) -> Packet:
        """Reads a Binding message of a session of that dialect. Raises StunParseError."""
        if dialect is Dialect.MS_ICE:
            legacy = LegacyMessage.parse(data)
            return cls(legacy.message_class, legacy.transaction_id, legacy)
        message = Message.parse(data)
        if message.method != Method.BINDING:
            raise StunParseError("a message is no Binding message")
        if message.fingerprint_at >= 0 and not fingerprint_is_right(message) and not _has_old_fingerprint(message):
            raise StunParseError("FINGERPRINT is wrong")
        return cls(message.message_class, message.transaction_id, message)

    @property
    def username(self) -> bytes:
        """USERNAME without the NULs that fill it; empty when there is none. Raises StunParseError when it is too long."""
        value = self.message.get(Attribute.USERNAME) or b""
        if len(value) > MAX_USERNAME + 3:
            raise StunParseError(f"USERNAME has {len(value)} bytes, at most {MAX_USERNAME} are allowed")
        return value.rstrip(b"\0")

    @property
    def is_protected(self) -> bool:
        """Whether it has MESSAGE-INTEGRITY."""
        return self.message.integrity_at >= 0

    def form_for(self, key: bytes) -> WireForm | None:
        """The form whose integrity, made with that key, it has; None when it has none."""
        message = self.message
        if isinstance(message, LegacyMessage):
            return WireForm.MS_ICE if legacy_integrity_is_right(message, key) else None
        if integrity_is_right(message, key):
            return WireForm.RFC
        return WireForm.MS_ICE2 if _ms_integrity_is_right(message, key) else None

    def unknown_attributes(self) -> list[int]:
        """Types that had to be understood and are not."""
        return self.message.unknown_attributes(_UNDERSTOOD) if isinstance(self.message, Message) else []

    def check(self) -> Check:
        """What a request says. Raises StunParseError."""
        message = self.message
        if isinstance(message, LegacyMessage):
            return Check(self.username, nominated=True)
        controlling, tie_breaker = None, message.get_int(Attribute.ICE_CONTROLLING, 8)
        if tie_breaker is not None:
            controlling = True
        else:
            tie_breaker = message.get_int(Attribute.ICE_CONTROLLED, 8)
            controlling = None if tie_breaker is None else False
        identifier = (message.get(Attribute.CANDIDATE_IDENTIFIER) or b"").rstrip(b"\0")[:32]
        return Check(
            self.username, message.get_int(Attribute.PRIORITY) or 0, controlling, tie_breaker or 0,
            message.get(Attribute.USE_CANDIDATE) is not None, identifier.decode("ascii", "replace"),
        )  # fmt: skip

    def mapped_address(self) -> Address | None:
        """Where the peer saw a request come from. Raises StunParseError."""
        message = self.message
        if isinstance(message, LegacyMessage):
            return message.mapped_address
        masked = message.get_xor_address(Attribute.XOR_MAPPED_ADDRESS)
        if masked is not None:
            return masked
        plain = message.get(Attribute.MAPPED_ADDRESS)
        return None if plain is None else decode_address(plain)

    def error_code(self) -> int:
        """The number of an error response, 0 when it has none. Raises StunParseError."""
        if isinstance(self.message, LegacyMessage):
            return self.message.error_code or 0
        error = self.message.error_code
        return error[0] if error else 0


def new_transaction_id(form: WireForm) -> bytes:
    """16 bytes for [MS-ICE], 12 for the others, all of chance; never such that the one passes for the other."""
    return secrets.token_bytes(12) if form is not WireForm.MS_ICE else b"\x80" + secrets.token_bytes(15)


def encode_check(check: Check, transaction_id: bytes, key: bytes, form: WireForm) -> bytes:
    """A Binding request."""
    if form is WireForm.MS_ICE:
        # Always at least one NUL, up to four.
        filled = check.username + bytes(4 - len(check.username) % 4)
        return protect_legacy(LegacyMessage(MessageClass.REQUEST, transaction_id, [(Attribute.USERNAME, filled)]), key)
    message = Message(Method.BINDING, MessageClass.REQUEST, transaction_id)
    if check.nominated:
        message.add(Attribute.USE_CANDIDATE)
    message.add_int(Attribute.PRIORITY, check.priority)
    role = Attribute.ICE_CONTROLLING if check.controlling else Attribute.ICE_CONTROLLED
    message.add_int(role, check.tie_breaker, 8)
    if form is WireForm.RFC:
        return protect(message.add(Attribute.USERNAME, check.username), key, fingerprint=True)
    message.add(Attribute.USERNAME, _filled(check.username))
    message.add(Attribute.CANDIDATE_IDENTIFIER, _filled(check.foundation.encode()))
    message.add_int(Attribute.IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION)
    return _ms_protect(message, key)


def encode_success(request: Packet, mapped: Address, key: bytes, form: WireForm) -> bytes:
    """The answer to a check; the two forms of Microsoft repeat its USERNAME."""
    message = request.message
    if isinstance(message, LegacyMessage):
        answer = LegacyMessage(MessageClass.SUCCESS, message.transaction_id).add_mapped_address(mapped)
        answer.attributes.append((Attribute.USERNAME, message.get(Attribute.USERNAME) or b""))
        return protect_legacy(answer, key)
    success = message.success().add_xor_address(Attribute.XOR_MAPPED_ADDRESS, mapped)
    if form is WireForm.RFC:
        return protect(success, key, fingerprint=True)
    success.add(Attribute.USERNAME, message.get(Attribute.USERNAME) or b"")
    return _ms_protect(success.add_int(Attribute.IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION), key)


def encode_error(request: Packet, code: ErrorCode, key: bytes = b"", form: WireForm = WireForm.RFC) -> bytes:
    """An error to a check; empty for [MS-ICE], where wrong checks are not answered. No ``key``: without integrity."""
    message = request.message
    if isinstance(message, LegacyMessage):
        return b""
    # Some readers expect no filling between attributes, so none may be needed.
    error = message.error(code, code.reason + " " * (-len(code.reason) % 4))
    unknown = request.unknown_attributes()
    if code is ErrorCode.UNKNOWN_ATTRIBUTE and unknown:
        unknown += unknown[-1:] if len(unknown) % 2 else []
        error.add(Attribute.UNKNOWN_ATTRIBUTES, b"".join(kind.to_bytes(2, "big") for kind in unknown))
    if not key or form is WireForm.RFC:
        return protect(error, key, fingerprint=True)
    return _ms_protect(error.add_int(Attribute.IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION), key)


def encode_keepalive(form: WireForm) -> bytes:
    """A Binding indication, which nobody answers (RFC 8445 section 11)."""
    if form is WireForm.MS_ICE:
        return bytes(LegacyMessage(MessageClass.INDICATION, new_transaction_id(form)))
    return protect(Message(Method.BINDING, MessageClass.INDICATION), fingerprint=True)


def _filled(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def _ms_protect(message: Message, key: bytes) -> bytes:
    data = bytes(message)
    # The length counts both attributes that follow.
    data = data[:2] + (len(data) + 24 + 8 - HEADER_SIZE).to_bytes(2, "big") + data[4:]
    data += Attribute.MESSAGE_INTEGRITY.to_bytes(2, "big") + b"\0\x14" + padded_digest(data, key)
    crc = (zlib.crc32(data) ^ FINGERPRINT_XOR).to_bytes(4, "big")
    return data + Attribute.FINGERPRINT.to_bytes(2, "big") + b"\0\x04" + crc


def _ms_integrity_is_right(message: Message, key: bytes) -> bool:
    at, raw = message.integrity_at, message.raw
    return at >= 0 and hmac.compare_digest(raw[at + 4 : at + 24], padded_digest(raw[:at], key))


def looks_like_check(data: bytes, dialect: Dialect) -> bool:
    """Whether a datagram is a STUN message of that dialect rather than media (RFC 7983: its first byte is 0 to 3)."""
    if len(data) < HEADER_SIZE or data[0] > 3:
        return False
    return dialect is Dialect.MS_ICE or data[4:8] == MAGIC_COOKIE


# A table of CRC-32 that was once published with a digit missing in one entry, and is still in use.
def _old_crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        value = number
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(0x08BBE8EA if value == 0x8BBEB8EA else value)
    return tuple(table)


_OLD_CRC_TABLE: Final = _old_crc_table()


def old_fingerprint(data: bytes) -> bytes:
    """The value of FINGERPRINT as peers without IMPLEMENTATION-VERSION may compute it ([MS-ICE2] 3.1.4.8.2)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _OLD_CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return (crc ^ 0xFFFFFFFF ^ FINGERPRINT_XOR).to_bytes(4, "big")


def _has_old_fingerprint(message: Message) -> bool:
    # The second copy that a client sends says its version too, so that is not held against it.
    at = message.fingerprint_at
    return hmac.compare_digest(message.raw[at + 4 :], old_fingerprint(message.raw[:at]))
