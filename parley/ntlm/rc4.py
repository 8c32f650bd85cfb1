"""RC4, which nothing but NTLM still needs."""

from __future__ import annotations

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher


def rc4(key: bytes, data: bytes) -> bytes:
    """Encrypts or decrypts with a fresh state."""
    return bytes(Cipher(ARC4(key), mode=None).encryptor().update(data))
