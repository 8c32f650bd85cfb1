"""Where the conferencing server for messages keeps what. Everything of one organizer's conferences lies in one shard."""

from __future__ import annotations

from parley.conference.uris import ConferenceName
from parley.platform.store.shards import shard_of


def _prefix(shard: int) -> str:
    return f"parley:immcu:{{{shard:02d}}}:"


def _key(kind: str, name: ConferenceName) -> str:
    return f"{_prefix(shard_of(name.organizer))}{kind}:{name.key}"


def sessions_key(name: ConferenceName) -> str:
    """Hash: the sessions of a conference, by id."""
    return _key("s", name)


def queue_key(name: ConferenceName) -> str:
    """Sorted set: messages that wait to be relayed, by their number."""
    return _key("q", name)


def numbers_key(name: ConferenceName) -> str:
    """Hash: ``message`` the number of the last one; for each session the last CSeq and the last message it has had."""
    return _key("n", name)


def lock_key(name: ConferenceName) -> str:
    """String: which process relays the messages of a conference now; it has a time limit."""
    return _key("l", name)


def waiting_key(shard: int) -> str:
    """Set: keys of conferences with messages that wait."""
    return f"{_prefix(shard)}waiting"
