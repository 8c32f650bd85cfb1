"""Where the messaging service keeps what. Everything of one user lies in one of 64 shards, and so on one server."""

from __future__ import annotations

from parley.platform.store.shards import shard_of


def _prefix(shard: int) -> str:
    return f"parley:msg:{{{shard:02d}}}:"


def sessions_key(owner: str) -> str:
    """Hash of the sessions with the clients of a user: by id the session and both CSeq numbers, by peer the current id."""
    return f"{_prefix(shard_of(owner))}s:{owner}"


def opening_key(owner: str, peer: str) -> str:
    """Lock: a session is being opened."""
    return f"{_prefix(shard_of(owner))}o:{owner}|{peer}"


def mailbox_key(aor: str) -> str:
    """List of the messages kept for a user, the oldest first."""
    return f"{_prefix(shard_of(aor))}m:{aor}"


def mailbox_size_key(aor: str) -> str:
    """Bytes of the messages kept for a user."""
    return f"{_prefix(shard_of(aor))}b:{aor}"


def mailbox_lock_key(aor: str) -> str:
    """Lock: somebody delivers what is kept."""
    return f"{_prefix(shard_of(aor))}l:{aor}"


def deadlines_key(shard: int) -> str:
    """Sorted set of what is to be looked at, by time in ms: ``s|owner|id`` of sessions, ``m|aor`` of mailboxes."""
    return f"{_prefix(shard)}deadlines"


def outbox_key(shard: int) -> str:
    """List of events to publish."""
    return f"{_prefix(shard)}outbox"
