"""Where the presence service keeps what. Everything of one user lies in one of 64 shards, and so on one server."""

from __future__ import annotations

from parley.platform.store.shards import shard_of


def _prefix(shard: int) -> str:
    return f"parley:pres:{{{shard:02d}}}:"


def presentity_key(aor: str) -> str:
    """Hash: version and state of a user's presence."""
    return f"{_prefix(shard_of(aor))}p:{aor}"


def contacts_key(aor: str) -> str:
    """Hash: version and contact list."""
    return f"{_prefix(shard_of(aor))}c:{aor}"


def subscriptions_key(watcher: str) -> str:
    """Hash of the subscriptions that a user made, by id, and of the number of the last NOTIFY of each."""
    return f"{_prefix(shard_of(watcher))}s:{watcher}"


def watchers_key(target: str, package: str = "") -> str:
    """Hash of the subscriptions to a user, by id; those of a package that few ask for lie beside, under its name."""
    return f"{_prefix(shard_of(target))}w{package and '.'}{package}:{target}"


def deadlines_key(shard: int) -> str:
    """Sorted set of what expires, by time in ms: ``p|aor`` and ``s|watcher|id``."""
    return f"{_prefix(shard)}deadlines"


def outbox_key(shard: int) -> str:
    """List of events to publish."""
    return f"{_prefix(shard)}outbox"
