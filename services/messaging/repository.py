"""Sessions in Redis: what a dialog is made of, the CSeq numbers of both directions, and when it ends by itself.

Nothing of a session is kept in a process, so any process goes on with it, also after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from parley.platform.store.client import Store
from parley.platform.store.link import Arg
from parley.platform.store.shards import shard_of
from parley.proto.messaging.v1.state_pb2 import Session
from services.messaging import keys

_LOCK_MS: Final = 40_000


@dataclass(frozen=True, slots=True)
class Used:
    """A session that a request belongs to."""

    session: Session
    number: int
    """CSeq of our request; 0 when one was received."""


class OutOfOrder(Exception):
    """A request has a lower CSeq than one before (RFC 3261 section 12.2.2)."""


class Sessions:
    """The sessions with clients of Communicator."""

    def __init__(self, store: Store, *, most: int) -> None:
        """``most``: sessions that one user may have."""
        self._store = store
        self._most = most
        self._open = store.script("services.messaging", "open.lua")
        self._use = store.script("services.messaging", "use.lua")
        self._keep = store.script("services.messaging", "keep.lua")
        self._close = store.script("services.messaging", "close.lua")
        self._lock = store.script("services.messaging", "lock.lua")

    async def open(self, session: Session, *, sent: int, received: int, ends_at_ms: int) -> bool:
        """Keeps a session, with both CSeq numbers so far; False when the user has too many. Raises StoreError."""
        owner = session.owner
        args: list[Arg] = [
            session.id, session.SerializeToString(), session.peer, sent, received, _member(owner, session.id), ends_at_ms,
            self._most,
        ]  # fmt: skip
        return bool(await self._open(_keys(owner), args))

    async def received(self, owner: str, session_id: str, cseq: int, ends_at_ms: int) -> Session | None:
        """The session of a request that its client sent; None when there is none. Raises OutOfOrder, StoreError."""
        reply = await self._use(_keys(owner), [session_id, "", max(cseq, 1), owner, ends_at_ms])
        if not reply:
            return None
        if not reply[0]:
            raise OutOfOrder
        return Session.FromString(reply[0])

    async def current(self, owner: str, peer: str, ends_at_ms: int) -> Used | None:
        """The session for what a peer sends to a user, with the number for it; None without one. Raises StoreError."""
        reply = await self._use(_keys(owner), ["", peer, 0, owner, ends_at_ms])
        return Used(Session.FromString(reply[0]), reply[1]) if reply else None

    async def keep(self, session: Session) -> None:
        """Writes what has changed of a session, if it goes on. Raises StoreError."""
        await self._keep([keys.sessions_key(session.owner)], [session.id, session.SerializeToString()])

    async def get(self, owner: str, session_id: str) -> Session | None:
        """A session. Raises StoreError."""
        data = await self._store.execute("HGET", keys.sessions_key(owner), f"s:{session_id}")
        return Session.FromString(data) if data else None

    async def close(self, owner: str, session_id: str, peer: str) -> int:
        """Forgets a session; the CSeq last sent in it, -1 when there is none. Raises StoreError."""
        return int(await self._close(_keys(owner), [session_id, peer, _member(owner, session_id)]))

    async def begin_opening(self, owner: str, peer: str) -> str:
        """The name of a lock that keeps other processes from opening a session too; "" when one of them is at it."""
        name = token_hex(8)
        taken = await self._store.execute("SET", keys.opening_key(owner, peer), name, "NX", "PX", _LOCK_MS)
        return name if taken else ""

    async def end_opening(self, owner: str, peer: str, name: str) -> None:
        """Gives the lock back. Raises StoreError."""
        await self._lock([keys.opening_key(owner, peer)], [name, 0])


class Deadlines:
    """What is to be looked at when its time has come."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def due(self, shard: int, now_ms: int, most: int) -> list[str]:
        """Members of a shard whose time has come. Raises StoreError."""
        found = await self._store.execute("ZRANGE", keys.deadlines_key(shard), "-inf", now_ms, "BYSCORE", "LIMIT", 0, most)
        return [member.decode() for member in found]

    async def forget(self, shard: int, member: str) -> None:
        """Takes off what turned out to be gone. Raises StoreError."""
        await self._store.execute("ZREM", keys.deadlines_key(shard), member)


def _keys(owner: str) -> list[str]:
    return [keys.sessions_key(owner), keys.deadlines_key(shard_of(owner))]


def _member(owner: str, session_id: str) -> str:
    return f"s|{owner}|{session_id}"
