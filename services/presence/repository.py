"""Presence in Redis. A change is read, made and written back if nobody was faster; else it is made anew.

So each user has one writer at a time, whichever process it is in. The events of a change are written in the same step. What
users made by hand (contacts) is on disk when the call returns; presence need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar
from zlib import crc32

from parley.platform.clock import Clock
from parley.platform.documents import Change, Documents, Place
from parley.platform.outbox import event_decoder, pack_event
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.store.link import Arg
from parley.platform.store.shards import shard_of
from parley.presence.contacts import new_list
from parley.presence.model import addresses_of, new_presentity, next_deadline_ms
from parley.proto.events.v1.presence_pb2 import ContactChanged, PresenceChanged, WatcherChanged
from parley.proto.presence.v1 import state_pb2 as pb
from parley.proto.sip.v1.message_pb2 import Flow
from services.presence import keys
from services.presence.packages import LISTS, PRESENCE, ROAMING_CONTACTS, WATCHERS, indexed_under

PRESENCE_TOPIC: Final = "parley.presence"
CONTACTS_TOPIC: Final = "parley.contacts"
WATCHERS_TOPIC: Final = "parley.watchers"

T = TypeVar("T")


class PresenceRepository:
    """The presence service's view of the store."""

    def __init__(self, store: Store, wake: Callable[[str], None], clock: Clock, *, call_check_s: float) -> None:
        """``wake``: told the key of an outbox that something was pushed to; ``call_check_s``: see `PresenceConfig`."""
        self._store = store
        self._wake = wake
        self._clock = clock
        self._call_check_ms = int(call_check_s * 1000)
        self._presentities = Documents(store, pb.Presentity, wake)
        self._contacts = Documents(store, pb.ContactList, wake)
        self._watch = store.script("services.presence", "watch.lua")
        self._end = store.script("services.presence", "end.lua")
        self._next = store.script("services.presence", "next.lua")

    # Presentities

    async def presentity(self, aor: str) -> pb.Presentity:
        """The state of a user; a new one for who has none. Raises StoreError."""
        found, _ = await self._presentities.load(keys.presentity_key(aor))
        return found if found is not None else new_presentity(aor)

    async def presentities(self, aors: Sequence[str]) -> list[pb.Presentity]:
        """The states of many users, in one round trip; new ones for who has none. Raises StoreError."""
        return [state for state, _ in await self.versioned(aors)]

    async def versioned(self, aors: Sequence[str]) -> list[tuple[pb.Presentity, int]]:
        """The states of many users, each with its version; 0 for a new one. Raises StoreError."""
        commands: list[list[Any]] = [["HMGET", keys.presentity_key(aor), "v", "d"] for aor in aors]
        replies = await self._store.pipeline(commands)
        found = []
        for aor, reply in zip(aors, replies, strict=True):
            if isinstance(reply, StoreError):
                raise reply
            version, data = reply
            found.append((new_presentity(aor), 0) if data is None else (pb.Presentity.FromString(data), int(version)))
        return found

    async def change(
        self, aor: str, apply: Callable[[pb.Presentity], tuple[T, PresenceChanged | None]], traceparent: str = ""
    ) -> T:
        """Changes the state of a user; without an event nothing is written. What ``apply`` raises is raised, and StoreError.

        ``apply`` may be called several times, each time with the state as it is then.
        """

        def change(found: pb.Presentity | None, version: int) -> Change[pb.Presentity, T]:
            state = found if found is not None else new_presentity(aor)
            result, event = apply(state)
            if event is None:
                return Change(result, write=False)
            event.version = version
            return Change(result, state, ((PRESENCE_TOPIC, aor, event),), self.deadline_ms(state))

        place = _place(keys.presentity_key(aor), aor, f"p|{aor}")
        return await self._presentities.change(place, change, traceparent=traceparent)

    # Contacts

    async def contacts(self, aor: str) -> pb.ContactList:
        """The contact list of a user. Raises StoreError."""
        found, _ = await self._contacts.load(keys.contacts_key(aor))
        return found if found is not None else new_list()

    async def contact_addresses(self, aor: str) -> list[str]:
        """The addresses of record of a user's contacts, in the order of the list. Raises StoreError."""
        return addresses_of(contact.uri for contact in (await self.contacts(aor)).contacts)

    async def change_contacts(
        self, aor: str, apply: Callable[[pb.ContactList], tuple[T, list[ContactChanged]]], traceparent: str = ""
    ) -> T:
        """Changes a contact list; it is on disk when this returns. Raises what ``apply`` raises, and StoreError."""

        def change(found: pb.ContactList | None, _version: int) -> Change[pb.ContactList, T]:
            contacts = found if found is not None else new_list()
            result, events = apply(contacts)
            packed = tuple((CONTACTS_TOPIC, aor, event) for event in events)
            return Change(result, contacts, packed, write=bool(events))

        place = _place(keys.contacts_key(aor), aor)
        return await self._contacts.change(place, change, durable=True, traceparent=traceparent)

    # Subscriptions

    async def subscription(self, watcher: str, subscription_id: str) -> pb.Subscription | None:
        """A subscription of a user. Raises StoreError."""
        data = await self._store.execute("HGET", keys.subscriptions_key(watcher), subscription_id)
        return pb.Subscription.FromString(data) if data else None

    async def count_subscriptions(self, watcher: str) -> int:
        """How many a user has. Raises StoreError."""
        return int(await self._store.execute("HLEN", keys.subscriptions_key(watcher))) // 2

    async def versions(self, subscription: pb.Subscription) -> dict[str, int]:
        """The versions of what a subscription is told of, by address of record; 0 for none. Raises StoreError."""
        key_of = keys.contacts_key if subscription.event == ROAMING_CONTACTS else keys.presentity_key
        aors = list(subscription.resources)
        replies = await self._store.pipeline([["HGET", key_of(aor), "v"] for aor in aors])
        _raise_first(replies)
        return {aor: int(reply or 0) for aor, reply in zip(aors, replies, strict=True)}

    async def count_watchers(self, target: str) -> int:
        """How many subscriptions there are to a user. Raises StoreError."""
        return int(await self._store.execute("HLEN", keys.watchers_key(target)))

    async def keep(
        self, subscription: pb.Subscription, *, gone: Sequence[str] = (), first: int | None = None, traceparent: str = ""
    ) -> None:
        """Writes a subscription at its watcher and at everyone it watches. Raises StoreError.

        ``gone``: resources it watches no longer; ``first``: number of the NOTIFY that its answer stands for, for a new one.
        """
        watcher = subscription.watcher
        own = keys.subscriptions_key(watcher)
        commands: list[list[Any]] = [["HSET", own, subscription.id, subscription.SerializeToString()]]
        if first is not None:
            commands.append(["HSET", own, f"q:{subscription.id}", first])
        member = f"s|{watcher}|{subscription.id}"
        commands.append(["ZADD", keys.deadlines_key(shard_of(watcher)), subscription.expires_at_ms, member])
        if subscription.list_name:
            row = keys.watchers_key(subscription.target, LISTS)
            commands.append(["HSET", row, subscription.id, _entry(subscription)])
        _raise_first(await self._store.pipeline(commands))
        await self._note(subscription, subscription.resources, "subscribe", traceparent)
        await self._note(subscription, gone, "timeout", traceparent, whichever=True)

    async def end(self, subscription: pb.Subscription, event: str = "timeout", traceparent: str = "") -> bool:
        """Forgets a subscription unless its client has renewed it meanwhile; whether it is gone by this. Raises StoreError.

        ``event``: how it ended, in the words of RFC 3858.
        """
        watcher = subscription.watcher
        own = keys.subscriptions_key(watcher)
        raw = await self._store.execute("HGET", own, subscription.id)
        if raw is None:
            await self._note(subscription, subscription.resources, event, traceparent)
            return False
        known = pb.Subscription.FromString(raw)
        if _incarnation(known) != _incarnation(subscription):
            return False
        deadlines = keys.deadlines_key(shard_of(watcher))
        if not await self._end([own, deadlines], [subscription.id, raw, f"s|{watcher}|{subscription.id}"]):
            return False
        if known.list_name:
            await self._store.execute("HDEL", keys.watchers_key(known.target, LISTS), known.id)
        await self._note(known, known.resources, event, traceparent)
        return True

    async def move(self, subscription: pb.Subscription, flow: Flow) -> bool:
        """The client of a subscription is reached by another flow now; False when it has renewed it. Raises StoreError."""
        known = await self.subscription(subscription.watcher, subscription.id)
        if known is None or _incarnation(known) != _incarnation(subscription):
            return False
        for one in (known, subscription):
            one.flow.CopyFrom(flow)
        await self.keep(known)
        return True

    async def forget(self, subscription: pb.Subscription, targets: Iterable[str]) -> None:
        """Takes a subscription that is gone off those to users. Raises StoreError."""
        await self._note(subscription, targets, "timeout")

    async def _note(
        self, subscription: pb.Subscription, targets: Iterable[str], event: str, traceparent: str = "", *,
        whichever: bool = False,
    ) -> None:  # fmt: skip
        """Writes a subscription at users it watches ("subscribe"), or takes it off there: this one or ``whichever``."""
        ends = event != "subscribe"
        entry, package = _entry(subscription), indexed_under(subscription)
        changed = WatcherChanged(
            at_ms=self._now_ms(), subscription_id=subscription.id, watcher=subscription.watcher,
            watcher_name=subscription.watcher_name, event=event, began_at_ms=subscription.began_at_ms,
        )  # fmt: skip
        calls: list[tuple[list[str], list[Arg]]] = []
        for target in targets:
            changed.aor = target
            told = pack_event(WATCHERS_TOPIC, target, changed, traceparent) if subscription.event == PRESENCE else b""
            call_keys = [keys.watchers_key(target, package), keys.watchers_key(target, WATCHERS)]
            call_keys.append(keys.outbox_key(shard_of(target)))
            calls.append(
                (call_keys, [subscription.id, b"" if ends else entry, told, entry if ends and not whichever else b""])
            )
        replies = await self._watch.many(calls)
        _raise_first(replies)
        for (call_keys, _), reply in zip(calls, replies, strict=True):
            if reply:
                self._wake(call_keys[-1])

    async def watchers(self, target: str, *packages: str) -> list[pb.Subscription]:
        """The subscriptions to a user, to presence or to other packages (see `indexed_under`). Raises StoreError.

        Those to lists come without their resources.
        """
        rows = await self._store.pipeline([["HVALS", keys.watchers_key(target, package)] for package in packages or ("",)])
        _raise_first(rows)
        return [pb.Subscription.FromString(data) for row in rows for data in row]

    async def next_number(self, subscription: pb.Subscription) -> int:
        """CSeq of the next NOTIFY; 0 when the subscription is gone. Raises StoreError."""
        return int(await self._next([keys.subscriptions_key(subscription.watcher)], [subscription.id]))

    # What expires

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    def deadline_ms(self, state: pb.Presentity) -> int:
        """When a user is to be looked at; see `next_deadline_ms`.

        Who calls is looked at once in every interval, whatever changes meanwhile, each user at another time of it.
        """
        interval = self._call_check_ms
        phase = crc32(state.address.encode("utf-8", "surrogateescape")) % interval
        return next_deadline_ms(state, ((self._now_ms() - phase) // interval + 1) * interval + phase)

    async def look_again(self, shard: int, member: str, at_ms: int) -> None:
        """Puts off what turned out not to be due. Raises StoreError."""
        await self._store.execute("ZADD", keys.deadlines_key(shard), "XX", at_ms, member)

    async def due(self, shard: int, now_ms: int, most: int) -> list[str]:
        """What has expired in a shard: ``p|aor`` and ``s|watcher|id``. Raises StoreError."""
        found = await self._store.execute("ZRANGE", keys.deadlines_key(shard), "-inf", now_ms, "BYSCORE", "LIMIT", 0, most)
        return [member.decode() for member in found]

    async def not_due(self, shard: int, member: str) -> None:
        """Takes off what turned out to be gone already. Raises StoreError."""
        await self._store.execute("ZREM", keys.deadlines_key(shard), member)


def _place(document: str, aor: str, member: str = "") -> Place:
    shard = shard_of(aor)
    return Place(document, keys.outbox_key(shard), keys.deadlines_key(shard), member)


decode_event = event_decoder(
    {PRESENCE_TOPIC: PresenceChanged, CONTACTS_TOPIC: ContactChanged, WATCHERS_TOPIC: WatcherChanged}
)
"""Reads an entry of the outbox."""


def _entry(subscription: pb.Subscription) -> bytes:
    """A subscription as it is kept at who is watched: who watches a list of a thousand is not told of it there."""
    if not subscription.list:
        return subscription.SerializeToString()
    entry = pb.Subscription()
    entry.CopyFrom(subscription)
    del entry.resources[:]
    return entry.SerializeToString()


def _incarnation(subscription: pb.Subscription) -> tuple[str, str, int, int]:
    """What a client renews with each SUBSCRIBE, or with a connection of its own."""
    flow = subscription.flow
    return subscription.call_id, flow.edge_uid, flow.connection_id, subscription.expires_at_ms


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
