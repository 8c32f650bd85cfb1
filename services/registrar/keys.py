"""Where the registrar keeps what. Everything of an address of record lies in one of 64 shards, and so on one server."""

from __future__ import annotations

from typing import Final

from parley.platform.store.shards import shard_of

EDGES: Final = "parley:reg:{edges}:lease"
EDGE_ADDRESSES: Final = "parley:reg:{edges}:address"
EDGE_FIRST_CONNECTIONS: Final = "parley:reg:{edges}:first-connection"
EDGE_RESTARTS: Final = "parley:reg:{edges}:restart"


def prefix(shard: int) -> str:
    """What every key of a shard begins with."""
    return f"parley:reg:{{{shard:02d}}}:"


def bindings_key(aor: str) -> str:
    """Hash of the bindings of an address of record."""
    return f"{prefix(shard_of(aor))}a:{aor}"


def deadlines_key(shard: int) -> str:
    """Sorted set of all bindings of a shard by the time they end."""
    return f"{prefix(shard)}deadlines"


def once_key(digest: bytes) -> str:
    """Mark of something that was used."""
    return f"parley:reg:once:{digest.hex()}"


def outbox_key(shard: int) -> str:
    """List of events to publish."""
    return f"{prefix(shard)}outbox"


def edge_key(shard: int, edge_uid: str) -> str:
    """Set of the bindings of a shard whose flow a front end holds."""
    return f"{prefix(shard)}e:{edge_uid}"
