"""NTLM messages (MS-NLMP section 2.2.1): the CHALLENGE that a server writes, the AUTHENTICATE that it reads.

Numbers are little-endian; fields of the payload are found by length and offset, whatever their order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

SIGNATURE: Final = b"NTLMSSP\0"
MAX_MESSAGE: Final = 16_384
_CHALLENGE_HEAD: Final = 56
_AUTHENTICATE_HEAD: Final = 64


class NtlmError(ValueError):
    """Bytes that are no such message; the text says why."""


class Flags(IntFlag):
    """What the two sides negotiate (MS-NLMP section 2.2.2.5)."""

    UNICODE = 0x1
    OEM = 0x2
    REQUEST_TARGET = 0x4
    SIGN = 0x10
    SEAL = 0x20
    DATAGRAM = 0x40
    LM_KEY = 0x80
    NTLM = 0x200
    ALWAYS_SIGN = 0x8000
    EXTENDED_SESSION_SECURITY = 0x80000
    IDENTIFY = 0x100000
    TARGET_INFO = 0x800000
    VERSION = 0x2000000
    KEY_128 = 0x20000000
    KEY_EXCHANGE = 0x40000000
    KEY_56 = 0x80000000


OFFERED: Final = Flags(0xE29882F3)
"""What Office Communications Server 2007 R2 offers."""

OFFERED_ON_CONNECTIONS: Final = OFFERED & ~(Flags.DATAGRAM | Flags.IDENTIFY | Flags.KEY_EXCHANGE)
"""The same for HTTP, where the connection is authenticated, nothing is signed, and no key is wanted."""

_VERSION: Final = bytes.fromhex("0502ce0e0000000f")


class AvId(IntEnum):
    """Kinds of target information (MS-NLMP section 2.2.2.1)."""

    END = 0
    NETBIOS_COMPUTER = 1
    NETBIOS_DOMAIN = 2
    DNS_COMPUTER = 3
    DNS_DOMAIN = 4
    DNS_FOREST = 5


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """What a server says of itself in a challenge."""

    netbios_domain: str
    netbios_computer: str
    dns_domain: str
    dns_computer: str

    def __bytes__(self) -> bytes:
        pairs = (
            (AvId.NETBIOS_DOMAIN, self.netbios_domain), (AvId.NETBIOS_COMPUTER, self.netbios_computer),
            (AvId.DNS_DOMAIN, self.dns_domain), (AvId.DNS_COMPUTER, self.dns_computer), (AvId.DNS_FOREST, self.dns_domain),
        )  # fmt: skip
        parts = []
        for kind, text in pairs:
            value = text.encode("utf-16-le")
            parts.append(struct.pack("<HH", kind, len(value)) + value)
        return b"".join(parts) + struct.pack("<HH", AvId.END, 0)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A CHALLENGE_MESSAGE (section 2.2.1.2)."""

    nonce: bytes
    """The server's challenge, 8 bytes."""
    target_info: TargetInfo
    flags: Flags = OFFERED

    def __bytes__(self) -> bytes:
        info = bytes(self.target_info)
        head = struct.pack("<8sIHHII8s8x", SIGNATURE, 2, 0, 0, _CHALLENGE_HEAD, self.flags, self.nonce)
        return head + struct.pack("<HHI", len(info), len(info), _CHALLENGE_HEAD) + _VERSION + info


@dataclass(frozen=True, slots=True)
class Authenticate:
    """An AUTHENTICATE_MESSAGE (section 2.2.1.3) with an NTLMv2 response."""

    domain: str
    user: str
    workstation: str
    nt_response: bytes
    """16 bytes of proof, then what was proved together with the challenge."""
    session_key: bytes
    """The client's random key, encrypted; empty without key exchange."""
    flags: Flags

    @classmethod
    def parse(cls, data: bytes) -> Authenticate:
        """Raises NtlmError."""
        if len(data) > MAX_MESSAGE:
            raise NtlmError("the message is too long")
        if len(data) < _AUTHENTICATE_HEAD or data[:8] != SIGNATURE:
            raise NtlmError("not an NTLM message")
        if struct.unpack_from("<I", data, 8)[0] != 3:
            raise NtlmError("not an AUTHENTICATE message")
        flags = Flags(struct.unpack_from("<I", data, 60)[0])
        nt_response, session_key = _field(data, 20), _field(data, 52)
        if len(nt_response) < 44:
            raise NtlmError("not an NTLMv2 response")
        if flags & Flags.KEY_EXCHANGE and len(session_key) != 16:
            raise NtlmError("a session key of the wrong length")
        encoding = "utf-16-le" if flags & Flags.UNICODE else "latin-1"
        try:
            domain, user, workstation = (_field(data, at).decode(encoding) for at in (28, 36, 44))
        except UnicodeDecodeError:
            raise NtlmError("a name that is no text") from None
        return cls(domain, user, workstation, nt_response, session_key, flags)

    @property
    def login(self) -> str:
        """What the user typed: ``DOMAIN\\user``, or a name without a domain as it is."""
        return f"{self.domain}\\{self.user}" if self.domain else self.user


def is_negotiate(data: bytes) -> bool:
    """Whether it is a NEGOTIATE_MESSAGE (section 2.2.1.1), with which a client begins on a connection; no more is read."""
    return data[:12] == SIGNATURE + struct.pack("<I", 1)


def _field(data: bytes, at: int) -> bytes:
    length, _, offset = struct.unpack_from("<HHI", data, at)
    if offset + length > len(data) or (length and offset < _AUTHENTICATE_HEAD):
        raise NtlmError("a field lies outside of the message")
    return data[offset : offset + length]
