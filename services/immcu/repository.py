"""Chats of conferences in Redis: who is in, and the messages that wait to be relayed, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from parley.conference.uris import ConferenceName
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.store.link import Arg
from parley.platform.store.shards import shard_of
from parley.proto.immcu.v1 import state_pb2 as pb
from services.immcu import keys

_LIFE_S: Final = 7 * 86_400
"""How long what is kept of a chat lasts without any change."""
LOCK_MS: Final = 10_000


class ChatRepository:
    """The service's view of the store."""

    def __init__(self, store: Store, process: str) -> None:
        """``process``: a name of this process that no other has."""
        self._store = store
        self._process = process
        self._push = store.script("services.immcu", "push.lua")
        self._release = store.script("services.immcu", "release.lua")
        self._renew = store.script("services.immcu", "renew.lua")

    # Sessions

    async def sessions(self, name: ConferenceName) -> list[pb.Session]:
        """Who is in the chat. Raises StoreError."""
        found = await self._store.execute("HVALS", keys.sessions_key(name))
        return [pb.Session.FromString(data) for data in found]

    async def session(self, name: ConferenceName, session_id: str) -> pb.Session | None:
        """One session. Raises StoreError."""
        data = await self._store.execute("HGET", keys.sessions_key(name), session_id)
        return pb.Session.FromString(data) if data is not None else None

    async def keep(self, name: ConferenceName, session: pb.Session) -> None:
        """Keeps a session; one that is new has had all messages before it. Raises StoreError."""
        last = await self._store.execute("HGET", keys.numbers_key(name), "message")
        key, numbers = keys.sessions_key(name), keys.numbers_key(name)
        await self._run([
            ["HSETNX", numbers, f"had:{session.id}", int(last or 0)], ["EXPIRE", numbers, _LIFE_S],
            ["HSET", key, session.id, session.SerializeToString()], ["EXPIRE", key, _LIFE_S],
        ])  # fmt: skip

    async def drop(self, name: ConferenceName, session_id: str) -> None:
        """Forgets a session. Raises StoreError."""
        await self._run([
            ["HDEL", keys.sessions_key(name), session_id],
            ["HDEL", keys.numbers_key(name), f"had:{session_id}", f"cseq:{session_id}"],
        ])  # fmt: skip

    async def next_cseq(self, name: ConferenceName, session_id: str) -> int:
        """Number of our next request in a session's dialog. Raises StoreError."""
        return int(await self._store.execute("HINCRBY", keys.numbers_key(name), f"cseq:{session_id}", 1))

    # Messages

    async def push(self, name: ConferenceName, message: pb.ChatMessage, most: int) -> int:
        """Puts a message in the queue; its number, 0 when more than ``most`` wait. Raises StoreError."""
        used = [keys.queue_key(name), keys.numbers_key(name), keys.waiting_key(shard_of(name.organizer))]
        args: list[Arg] = [message.SerializeToString(), name.key, most, _LIFE_S]
        (reply,) = await self._push.many([(used, args)], [message.traceparent] if message.traceparent else ())
        if isinstance(reply, BaseException):
            raise reply
        return int(reply)

    async def waiting(self, name: ConferenceName, after: int, most: int) -> list[pb.ChatMessage]:
        """Messages behind a number, in order. Raises StoreError."""
        found = await self._store.execute(
            "ZRANGE", keys.queue_key(name), f"({after}", "+inf", "BYSCORE", "LIMIT", 0, most
        )  # fmt: skip
        messages = []
        for member in found:
            number, _, data = member.partition(b"\n")
            message = pb.ChatMessage.FromString(data)
            message.number = int(number)
            messages.append(message)
        return messages

    async def relayed(self, name: ConferenceName, number: int) -> None:
        """A message has gone to everybody. Raises StoreError."""
        await self._store.execute("ZREMRANGEBYSCORE", keys.queue_key(name), number, number)

    async def had(self, name: ConferenceName, session_ids: Sequence[str]) -> list[int]:
        """The number of the last message that each session has had. Raises StoreError."""
        if not session_ids:
            return []
        fields = [f"had:{session_id}" for session_id in session_ids]
        return [int(value or 0) for value in await self._store.execute("HMGET", keys.numbers_key(name), *fields)]

    async def note_had(self, name: ConferenceName, session_id: str, number: int) -> None:
        """A session has had a message. Raises StoreError."""
        await self._store.execute("HSET", keys.numbers_key(name), f"had:{session_id}", number)

    # Who relays

    async def take(self, name: ConferenceName) -> bool:
        """Whether this process relays the messages of a conference from now on. Raises StoreError."""
        return await self._store.execute("SET", keys.lock_key(name), self._process, "NX", "PX", LOCK_MS) is not None

    async def renew(self, name: ConferenceName) -> bool:
        """Goes on relaying; False when another process has taken over. Raises StoreError."""
        return bool(await self._renew([keys.lock_key(name)], [self._process, LOCK_MS]))

    async def release(self, name: ConferenceName) -> bool:
        """Stops relaying; False when there is more to relay. Raises StoreError."""
        shard = shard_of(name.organizer)
        used = [keys.lock_key(name), keys.queue_key(name), keys.waiting_key(shard)]
        return bool(await self._release(used, [self._process, name.key]))

    async def left_over(self, shard: int) -> list[ConferenceName]:
        """Conferences of a shard with messages that wait. Raises StoreError."""
        names = []
        for member in await self._store.execute("SMEMBERS", keys.waiting_key(shard)):
            organizer, _, conference_id = member.decode().rpartition("|")
            names.append(ConferenceName(organizer, conference_id))
        return names

    async def _run(self, commands: list[list[Arg]]) -> None:
        for reply in await self._store.pipeline(commands):
            if isinstance(reply, StoreError):
                raise reply
