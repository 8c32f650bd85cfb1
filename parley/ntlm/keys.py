"""What proves a password and what keys follow from it: NTLMv2 (MS-NLMP sections 3.3.2 and 3.4.5)."""

from __future__ import annotations

import hashlib
import hmac

from parley.ntlm.messages import Authenticate, Flags
from parley.ntlm.rc4 import rc4


def response_key(nt_hash: bytes, user: str, domain: str) -> bytes:
    """NTOWFv2, 16 bytes; ``nt_hash``: MD4 of the password, see `parley.ntlm.md4.nt_hash`."""
    return hmac.digest(nt_hash, (user.upper() + domain).encode("utf-16-le"), "md5")


def exported_session_key(message: Authenticate, challenge: bytes, nt_hash: bytes) -> bytes | None:
    """The 16-byte key both sides have when the password is right; None when it is wrong.

    ``challenge``: the 8 bytes that the server sent. Takes the same time for right and wrong.
    """
    # Not all clients change the case of letters beyond ASCII; of the user name both forms are tried.
    base = b""
    for user in dict.fromkeys((message.user.upper(), _ascii_upper(message.user))):
        key = hmac.digest(nt_hash, (user + message.domain).encode("utf-16-le"), "md5")
        proof = hmac.digest(key, challenge + message.nt_response[16:], "md5")
        if hmac.compare_digest(proof, message.nt_response[:16]):
            base = hmac.digest(key, proof, "md5")
    if not base:
        return None
    return rc4(base, message.session_key) if message.flags & Flags.KEY_EXCHANGE else base


def _ascii_upper(text: str) -> str:
    return "".join(char.upper() if char.isascii() else char for char in text)


def sign_key(exported: bytes, *, server: bool) -> bytes:
    """SIGNKEY (section 3.4.5.2) of what the server, or the client, signs."""
    return _derived(exported, "signing", server)


def seal_key(exported: bytes, flags: Flags, *, server: bool) -> bytes:
    """SEALKEY (section 3.4.5.3) of what the server, or the client, signs."""
    length = 16 if flags & Flags.KEY_128 else 7 if flags & Flags.KEY_56 else 5
    return _derived(exported[:length], "sealing", server)


def _derived(key: bytes, use: str, server: bool) -> bytes:
    way = "server-to-client" if server else "client-to-server"
    text = f"session key to {way} {use} key magic constant\0"
    return hashlib.md5(key + text.encode(), usedforsecurity=False).digest()
