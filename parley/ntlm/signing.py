"""Signatures of one direction of an NTLM session in datagram mode (MS-NLMP section 3.4.4), as SIP uses them.

The sequence number is 100 in every message (MS-SIPAE section 3.2.5.1), so RC4 starts with the same key each time and what it
adds is the same eight bytes: they are computed once, and a signature costs one HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from typing import Final

from parley.ntlm.keys import seal_key, sign_key
from parley.ntlm.messages import Flags
from parley.ntlm.rc4 import rc4

SEQUENCE: Final = 100
_SEQUENCE: Final = struct.pack("<I", SEQUENCE)
_VERSION: Final = struct.pack("<I", 1)


class Signer:
    """Signs what one side sends; the other side checks with the same."""

    __slots__ = ("_key", "_legacy", "_mask")

    def __init__(self, exported: bytes, flags: Flags, *, server: bool) -> None:
        """``exported``: the 16-byte session key; ``server``: whether the server is the one that signs."""
        self._legacy: bool = not flags & Flags.EXTENDED_SESSION_SECURITY
        if self._legacy:
            self._key = b""
            self._mask = int.from_bytes(rc4(exported, bytes(12)), "little")
        else:
            self._key = sign_key(exported, server=server)
            sealing = seal_key(exported, flags, server=server)
            datagram_key = hashlib.md5(sealing + _SEQUENCE, usedforsecurity=False).digest()
            self._mask = int.from_bytes(rc4(datagram_key, bytes(8)), "little")

    def sign(self, text: bytes) -> bytes:
        """The signature, 16 bytes."""
        if self._legacy:
            plain = bytes(4) + struct.pack("<I", zlib.crc32(text)) + _SEQUENCE
            sealed = (int.from_bytes(plain, "little") ^ self._mask).to_bytes(12, "little")
            return _VERSION + bytes(4) + sealed[4:]
        digest = hmac.digest(self._key, _SEQUENCE + text, "md5")[:8]
        sealed = (int.from_bytes(digest, "little") ^ self._mask).to_bytes(8, "little")
        return _VERSION + sealed + _SEQUENCE

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether a signature is that of the text."""
        expected = self.sign(text)
        if self._legacy:  # the random pad is not checked (section 3.4.4.1)
            return len(signature) == 16 and hmac.compare_digest(expected[:4] + expected[8:], signature[:4] + signature[8:])
        return hmac.compare_digest(expected, signature)
