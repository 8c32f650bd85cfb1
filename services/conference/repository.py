"""Conferences in Redis. The record of a conference is on disk when it is acknowledged; who takes part need not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from typing import Final, TypeVar

from parley.conference.roster import next_deadline_ms
from parley.conference.uris import ConferenceName
from parley.platform.clock import Clock
from parley.platform.documents import Change, Documents, Place
from parley.platform.outbox import event_decoder
from parley.platform.store.client import Store
from parley.platform.store.shards import shard_of
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from parley.proto.sip.v1.dialog_pb2 import Dialog
from services.conference import keys

TOPIC: Final = "parley.conferences"
_NUMBERS_S: Final = 7 * 86_400
_JOINED_S: Final = 30 * 86_400

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened in a conference."""

    kind: ConferenceChanged.Kind.ValueType
    users: tuple[str, ...] = ()
    reason: str = ""


Outcome = tuple[T, Sequence[Fact] | None]
"""Result of a change and what is told of it; None: nothing changed."""


class ConferenceRepository:
    """The conference service's view of the store."""

    def __init__(self, store: Store, wake: Callable[[str], None], clock: Clock, *, longest_ms: int) -> None:
        """``wake``: told the key of an outbox that something was pushed to; ``longest_ms``: the longest meeting."""
        self._store = store
        self._clock = clock
        self._longest_ms = longest_ms
        self._documents = Documents(store, pb.Conference, wake)

    def now_ms(self) -> int:
        """The time of changes, ms since the epoch."""
        return int(self._clock.wall() * 1000)

    async def conference(self, name: ConferenceName) -> pb.Conference | None:
        """A conference; None when there is none, or it is over. Raises StoreError."""
        found, _ = await self._documents.load(keys.conference_key(name))
        return found if found is not None and not self._is_over(found) else None

    async def ids_of(self, organizer: str) -> list[str]:
        """The ids of an organizer's conferences, in order. Raises StoreError."""
        found = await self._store.execute("SMEMBERS", keys.organizer_key(organizer))
        return sorted(member.decode() for member in found)

    async def create(self, conference: pb.Conference, traceparent: str) -> bool:
        """Keeps a new conference; False when there is one of that name. Raises StoreError."""
        name = ConferenceName(conference.organizer, conference.id)

        def change(found: pb.Conference | None, version: int) -> Change[pb.Conference, bool]:
            if found is not None and not self._is_over(found):
                return Change(False, write=False)
            return self._changed(name, conference, version, True, (Fact(ConferenceChanged.KIND_CREATED),))

        await self._store.execute("SADD", keys.organizer_key(name.organizer), conference.id)
        return await self._documents.change(self._place(name), change, durable=True, traceparent=traceparent)

    async def change(
        self, name: ConferenceName, apply: Callable[[pb.Conference], Outcome[T]], traceparent: str = "", *,
        durable: bool = False,
    ) -> T | None:  # fmt: skip
        """Changes a conference; None when there is none. Raises what ``apply`` raises, and StoreError."""

        def change(found: pb.Conference | None, version: int) -> Change[pb.Conference, T | None]:
            if found is None or self._is_over(found):
                return Change(None, write=False)
            result, facts = apply(found)
            if facts is None:
                return Change(result, write=False)
            return self._changed(name, found, version, result, facts)

        return await self._documents.change(self._place(name), change, durable=durable, traceparent=traceparent)

    async def remove_watcher(self, name: ConferenceName, watcher_id: str) -> bool:
        """Ends a subscription; False when there is none. Raises StoreError."""

        def apply(conference: pb.Conference) -> Outcome[bool]:
            found = next((one for one in conference.watchers if one.id == watcher_id), None)
            if found is None:
                return False, None
            conference.watchers.remove(found)
            return True, ()

        return bool(await self.change(name, apply))

    async def delete(self, name: ConferenceName, traceparent: str = "") -> pb.Conference | None:
        """Forgets a conference; as it was, None when there was none. Raises StoreError."""

        def change(found: pb.Conference | None, version: int) -> Change[pb.Conference, pb.Conference | None]:
            if found is None:
                return Change(None, write=False)
            users = tuple(one.address for one in found.participants)
            event = _event(name, Fact(ConferenceChanged.KIND_DELETED, users), version, self.now_ms(), 0)
            return Change(found, None, ((TOPIC, name.key, event),))  # who it was lasts longer than the conference

        gone = await self._documents.change(self._place(name), change, durable=True, traceparent=traceparent)
        if gone is not None:
            await self._store.execute("SREM", keys.organizer_key(name.organizer), gone.id)
        return gone

    # Who is where

    async def note_joined(self, user: str, name: ConferenceName) -> None:
        """Notes, before it is so, that a user takes part. Raises StoreError."""
        key = keys.joined_key(user)
        await self._store.pipeline([["SADD", key, name.key], ["EXPIRE", key, _JOINED_S]])

    async def joined(self, user: str) -> list[ConferenceName]:
        """Conferences in which a user may take part. Raises StoreError."""
        found = await self._store.execute("SMEMBERS", keys.joined_key(user))
        return [_name(member.decode()) for member in found]

    async def note_left(self, user: str, name: ConferenceName) -> None:
        """Notes that a user takes no part any more. Raises StoreError."""
        await self._store.execute("SREM", keys.joined_key(user), name.key)

    # Numbers of requests

    async def next_number(self, name: ConferenceName, dialog: str) -> int:
        """The next number for a request of ours in a dialog. Raises StoreError."""
        return int(await self._store.execute("HINCRBY", keys.numbers_key(name), dialog, 1))

    async def begin_numbers(self, name: ConferenceName, dialog: str, number: int) -> None:
        """Numbers of a dialog go on from this one. Raises StoreError."""
        key = keys.numbers_key(name)
        await self._store.pipeline([["HSET", key, dialog, number], ["EXPIRE", key, _NUMBERS_S]])

    async def forget_numbers(self, name: ConferenceName, dialog: str) -> None:
        """A dialog is over. Raises StoreError."""
        await self._store.execute("HDEL", keys.numbers_key(name), dialog)

    # What is due

    async def due(self, shard: int, now_ms: int, most: int) -> list[ConferenceName]:
        """Conferences of a shard of which something is due. Raises StoreError."""
        found = await self._store.execute("ZRANGE", keys.deadlines_key(shard), "-inf", now_ms, "BYSCORE", "LIMIT", 0, most)
        return [_name(member.decode()) for member in found]

    async def not_due(self, name: ConferenceName) -> None:
        """Takes off a conference that is gone. Raises StoreError."""
        await self._store.execute("ZREM", keys.deadlines_key(shard_of(name.organizer)), name.key)

    def _is_over(self, conference: pb.Conference) -> bool:
        return 0 < conference.expires_at_ms <= self.now_ms()

    def _changed(
        self, name: ConferenceName, conference: pb.Conference, version: int, result: T, facts: Sequence[Fact]
    ) -> Change[pb.Conference, T]:
        now_ms, count = self.now_ms(), len(conference.participants)
        events = tuple((TOPIC, name.key, _event(name, fact, version, now_ms, count)) for fact in facts)
        due = next_deadline_ms(conference, longest_ms=self._longest_ms)
        return Change(result, conference, events, due)

    @staticmethod
    def _place(name: ConferenceName) -> Place:
        shard = shard_of(name.organizer)
        return Place(keys.conference_key(name), keys.outbox_key(shard), keys.deadlines_key(shard), name.key)


def dialog_key(dialog: Dialog) -> str:
    """The name under which the numbers of a focus dialog are kept."""
    return blake2s(f"{dialog.aor}\n{dialog.call_id}\n{dialog.local_party}".encode(), digest_size=12).hexdigest()


def _event(name: ConferenceName, fact: Fact, version: int, now_ms: int, participants: int) -> ConferenceChanged:
    return ConferenceChanged(
        kind=fact.kind, organizer=name.organizer, conference_id=name.id, version=version, at_ms=now_ms, users=fact.users,
        participants=participants, reason=fact.reason,
    )  # fmt: skip


def _name(text: str) -> ConferenceName:
    organizer, _, conference_id = text.rpartition("|")
    return ConferenceName(organizer, conference_id)


decode_event = event_decoder({TOPIC: ConferenceChanged})
"""Reads an entry of the outbox."""
