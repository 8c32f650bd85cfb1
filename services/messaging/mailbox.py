"""Messages kept for users who are not there. What `Mailbox.put` took is on disk, until it is taken out by its id."""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from google.protobuf.message import DecodeError

from parley.platform.outbox import Record
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.store.link import Arg
from parley.platform.store.shards import shard_of
from parley.proto.events.v1.message_pb2 import MessageUndelivered
from parley.proto.messaging.v1.state_pb2 import StoredMessage
from services.messaging import keys
from services.messaging.config import MessagingConfig

TOPIC: Final = "parley.messages"
_ID_DIGITS: Final = 24


@dataclass(frozen=True, slots=True)
class Entry:
    """A message that is kept."""

    id: str
    message: StoredMessage | None
    """None: what is there cannot be read."""


class Mailbox:
    """The mailboxes of all users."""

    def __init__(self, store: Store, config: MessagingConfig) -> None:
        self._store = store
        self._config = config
        self._push = store.script("services.messaging", "push.lua")
        self._remove = store.script("services.messaging", "remove.lua")
        self._lock = store.script("services.messaging", "lock.lua")

    async def put(self, aor: str, message: StoredMessage, look_at_ms: int, *, pretend: bool = False) -> str | None:
        """Keeps a message; its id, or None when there is no room. On disk when this returns. Raises StoreError.

        ``look_at_ms``: when to look at the mailbox again, unless that is known; ``pretend``: do all but keep it.
        """
        entry_id = token_hex(_ID_DIGITS // 2)
        entry = entry_id.encode() + message.SerializeToString()
        config = self._config
        args: list[Arg] = [
            entry,
            config.max_stored,
            config.max_stored_bytes,
            _member(aor),
            look_at_ms,
            "1" if pretend else "0",
        ]
        done = await self._push.durable(_keys(aor)[:3], args)
        return entry_id if done else None

    async def count(self, aor: str) -> int:
        """How many there are. Raises StoreError."""
        return int(await self._store.execute("LLEN", keys.mailbox_key(aor)))

    async def first(self, aor: str) -> Entry | None:
        """The oldest message. Raises StoreError."""
        raw = await self._store.execute("LINDEX", keys.mailbox_key(aor), 0)
        if raw is None:
            return None
        entry_id = raw[:_ID_DIGITS].decode("ascii", "replace")
        try:
            return Entry(entry_id, StoredMessage.FromString(raw[_ID_DIGITS:]))
        except DecodeError:
            return Entry(entry_id, None)

    async def remove(self, aor: str, entry_id: str, event: MessageUndelivered | None = None, traceparent: str = "") -> bool:
        """Takes a message out, with the event that tells of it; whether it was there. Raises StoreError."""
        packed = packed_event(event, traceparent) if event is not None else b""
        return bool(await self._remove(_keys(aor), [entry_id, _member(aor), packed]))

    async def look_again(self, aor: str, at_ms: int) -> None:
        """Sets when to look at a mailbox. Raises StoreError."""
        await self._store.execute("ZADD", keys.deadlines_key(shard_of(aor)), "XX", at_ms, _member(aor))

    async def lock(self, aor: str, hold_ms: int) -> str:
        """The name of a lock on the mailbox; "" when another process has it. Raises StoreError."""
        name = token_hex(8)
        return name if await self._store.execute("SET", keys.mailbox_lock_key(aor), name, "NX", "PX", hold_ms) else ""

    async def hold(self, aor: str, name: str, hold_ms: int) -> bool:
        """Keeps the lock for longer; False when it is not ours any more. Raises StoreError."""
        return bool(await self._lock([keys.mailbox_lock_key(aor)], [name, hold_ms]))

    async def unlock(self, aor: str, name: str) -> None:
        """Gives the lock back. Raises StoreError."""
        await self._lock([keys.mailbox_lock_key(aor)], [name, 0])

    async def clear(self, aor: str) -> None:
        """Throws away what is kept for a user. Raises StoreError."""
        box, size, deadlines, _ = _keys(aor)
        for reply in await self._store.pipeline([["DEL", box], ["DEL", size], ["ZREM", deadlines, _member(aor)]]):
            if isinstance(reply, StoreError):
                raise reply


class Facts:
    """Events that tell of no change in the store: they go through the outbox too, so none is lost while the bus is away."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tell(self, event: MessageUndelivered, traceparent: str) -> str:
        """Writes an event to an outbox; the key of that. Raises StoreError."""
        key = keys.outbox_key(shard_of(event.to_aor))
        await self._store.execute("RPUSH", key, packed_event(event, traceparent))
        return key


def _keys(aor: str) -> list[str]:
    shard = shard_of(aor)
    return [keys.mailbox_key(aor), keys.mailbox_size_key(aor), keys.deadlines_key(shard), keys.outbox_key(shard)]


def _member(aor: str) -> str:
    return f"m|{aor}"


def packed_event(event: MessageUndelivered, traceparent: str) -> bytes:
    """An entry of the outbox."""
    return f"{traceparent}\n".encode() + event.SerializeToString()


def decode_event(raw: bytes) -> Record:
    """What an entry of the outbox holds."""
    traceparent, data = raw.split(b"\n", 1)
    event = MessageUndelivered.FromString(data)
    return Record(TOPIC, event.to_aor, event, traceparent.decode())
