"""Where the conference service keeps what. Everything of one organizer lies in one shard, and so on one server."""

from __future__ import annotations

from parley.conference.uris import ConferenceName
from parley.platform.store.shards import shard_of


def _prefix(shard: int) -> str:
    return f"parley:conf:{{{shard:02d}}}:"


def conference_key(name: ConferenceName) -> str:
    """Hash: version and state of a conference."""
    return f"{_prefix(shard_of(name.organizer))}c:{name.key}"


def organizer_key(organizer: str) -> str:
    """Set: ids of an organizer's conferences."""
    return f"{_prefix(shard_of(organizer))}o:{organizer}"


def numbers_key(name: ConferenceName) -> str:
    """Hash: the number of our last request in each dialog, by dialog."""
    return f"{_prefix(shard_of(name.organizer))}n:{name.key}"


def joined_key(user: str) -> str:
    """Set: conferences that a user takes part in, by key; it may name too many."""
    return f"{_prefix(shard_of(user))}u:{user}"


def deadlines_key(shard: int) -> str:
    """Sorted set of conferences, by key, by the time in ms at which something of theirs is due."""
    return f"{_prefix(shard)}deadlines"


def outbox_key(shard: int) -> str:
    """List of events to publish."""
    return f"{_prefix(shard)}outbox"
