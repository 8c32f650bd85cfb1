"""MD4 (RFC 1320), which the platform's library no longer offers; NT password hashes are made with it."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_ROUND2 = (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
_ROUND3 = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)


def md4(data: bytes) -> bytes:
    """The 16-byte digest."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    padded = data + b"\x80" + b"\0" * ((55 - len(data)) % 64) + struct.pack("<Q", len(data) * 8)
    for at in range(0, len(padded), 64):
        state = _block(state, struct.unpack("<16I", padded[at : at + 64]))
    return struct.pack("<4I", *state)


def _block(state: list[int], words: tuple[int, ...]) -> list[int]:
    a, b, c, d = state
    for i in range(16):
        value = (a + (b & c | ~b & d) + words[i]) & _MASK
        a, b, c, d = d, _rotate(value, (3, 7, 11, 19)[i % 4]), b, c
    for i in range(16):
        value = (a + (b & c | b & d | c & d) + words[_ROUND2[i]] + 0x5A827999) & _MASK
        a, b, c, d = d, _rotate(value, (3, 5, 9, 13)[i % 4]), b, c
    for i in range(16):
        value = (a + (b ^ c ^ d) + words[_ROUND3[i]] + 0x6ED9EBA1) & _MASK
        a, b, c, d = d, _rotate(value, (3, 9, 11, 15)[i % 4]), b, c
    return [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def nt_hash(password: str) -> bytes:
    """MD4 of the password in UTF-16LE (MS-NLMP section 3.3.1, NTOWFv1), 16 bytes."""
    return md4(password.encode("utf-16-le"))
