"""Keys of one installation: a master key, and one derived key for each purpose (HKDF, RFC 5869)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


def derive_key(master: bytes, purpose: str) -> bytes:
    """32 bytes for a purpose, as "flow-token"; other purposes learn nothing from it."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"parley " + purpose.encode()).derive(master)


def parse_master_key(text: str) -> bytes:
    """A master key from its 64 hex digits. Raises ValueError."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        raise ValueError("the master key must be 64 hex digits") from None
    if len(key) != KEY_BYTES:
        raise ValueError("the master key must be 64 hex digits")
    return key


def load_or_create_master_key(path: Path) -> bytes:
    """The key kept in a file (mode 0600); made at the first start."""
    try:
        return parse_master_key(path.read_text())
    except FileNotFoundError:
        key = secrets.token_bytes(KEY_BYTES)
        write_private(path, key.hex() + "\n")
        return key


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner reads, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
