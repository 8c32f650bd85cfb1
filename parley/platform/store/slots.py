"""Which hash slot of a cluster has a key.

A module of its own rather than redis-py's, which would load its whole client, with metrics of OpenTelemetry, everywhere.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

SLOTS: Final = 16_384


def key_slot(key: bytes) -> int:
    """0 to 16383: of what stands in the first braces, if anything does (Redis cluster specification, hash tags)."""
    opened = key.find(b"{")
    if opened >= 0:
        closed = key.find(b"}", opened)
        if closed > opened + 1:
            key = key[opened + 1 : closed]
    return crc_hqx(key, 0) % SLOTS
