"""Shards: everything of one address of record lies in one of them, and so on one server of a Redis Cluster."""

from __future__ import annotations

import zlib
from typing import Final

SHARDS: Final = 64


def shard_of(aor: str) -> int:
    """The shard of an address of record; it never changes, or all that is kept would be lost."""
    return zlib.crc32(aor.encode()) % SHARDS
