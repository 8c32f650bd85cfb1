"""Bindings in Redis: batches of updates and look-ups, each batch one round trip."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from parley.platform.outbox import Record
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.store.link import Arg
from parley.platform.store.shards import SHARDS, shard_of
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from services.registrar import keys
from services.registrar.bindings import StoredBinding, unpack

TOPIC: Final = "parley.registrations"
CHUNK: Final = 500
"""Bindings that one call of a sweep looks at."""

_KINDS: Final = ("", "KIND_REGISTERED", "KIND_UNREGISTERED", "KIND_EXPIRED", "KIND_FLOW_LOST")


@dataclass(slots=True)
class Change:
    """One update, ready for the script."""

    aor: str
    call_id: str
    cseq: int
    mode: str
    """"set", "clear" or "flow"."""
    contacts: list[tuple[str, int, str, bytes]]
    """Binding id, deadline in ms (0 removes), mark of what was asked, packed binding."""
    edge_uid: str = ""
    connection_id: int = 0
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What came of an update."""

    outcome: int
    """1 done, 3 too many bindings, 4 out of order."""
    changed: bool
    """Events were written."""
    bindings: list[StoredBinding]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of bindings ends; ``str()`` and `parse` make it a token for clients."""

    shard: int = 0
    deadline: str = ""
    member: str = ""

    def __str__(self) -> str:
        text = f"{self.shard}\n{self.deadline}\n{self.member}"
        return urlsafe_b64encode(text.encode("utf-8", "surrogateescape")).decode()

    @classmethod
    def parse(cls, token: str) -> Place:
        """The place that a token stands for; the beginning for "". Raises ValueError."""
        if not token:
            return cls()
        text = urlsafe_b64decode(token.encode()).decode("utf-8", "surrogateescape")
        shard, deadline, member = text.split("\n", 2)
        if not (shard + deadline).isascii() or int(shard) not in range(SHARDS) or (member and not deadline.isdigit()):
            raise ValueError("no page begins there")
        return cls(int(shard), deadline, member)


class BindingRepository:
    """The registrar's view of the store."""

    def __init__(self, store: Store, max_bindings: int) -> None:
        self._store = store
        self._max_bindings = max_bindings
        self._update = store.script("services.registrar", "update.lua")
        self._sweep = store.script("services.registrar", "sweep.lua")
        self._page = store.script("services.registrar", "page.lua")

    async def apply(self, changes: Sequence[Change], now_ms: int) -> list[ChangeResult | StoreError]:
        """Applies updates, each atomically; results in their order."""
        calls = [self._call(change, now_ms) for change in changes]
        replies = await self._update.many(calls, [change.traceparent for change in changes])
        return [
            reply if isinstance(reply, StoreError) else ChangeResult(reply[0], reply[1] == 1, list(map(unpack, reply[2:])))
            for reply in replies
        ]

    def _call(self, change: Change, now_ms: int) -> tuple[list[str], list[Arg]]:
        shard = shard_of(change.aor)
        prefix = keys.prefix(shard)
        args: list[Arg] = [
            now_ms, self._max_bindings, change.call_id.replace("\n", " "), change.cseq, f"{prefix}e:", change.aor,
            change.mode, change.traceparent, change.edge_uid, change.connection_id,
        ]  # fmt: skip
        for contact in change.contacts:
            args += contact
        return [f"{prefix}a:{change.aor}", f"{prefix}deadlines", f"{prefix}outbox"], args

    async def lookup(self, aors: Sequence[str]) -> list[list[StoredBinding] | StoreError]:
        """The bindings of addresses of record, ended ones among them."""
        replies = await self._store.pipeline([["HGETALL", keys.bindings_key(aor)] for aor in aors])
        return [
            reply
            if isinstance(reply, StoreError)
            else [unpack(reply[i + 1]) for i in range(0, len(reply), 2) if reply[i] != b"#"]
            for reply in replies
        ]

    async def take_once(self, uses: Sequence[tuple[bytes, int | None]]) -> list[bool | StoreError]:
        """Marks digests as used for some milliseconds (None: not at all), for each whether it was not before."""
        commands: list[list[Arg]] = [
            ["SET", keys.once_key(digest), "1", "NX", "PX", ttl_ms]
            if ttl_ms is not None
            else ["EXISTS", keys.once_key(digest)]
            for digest, ttl_ms in uses
        ]
        replies = await self._store.pipeline(commands)
        return [reply if isinstance(reply, StoreError) else reply not in (None, 1) for reply in replies]

    async def sweep_expired(self, shards: Sequence[int], now_ms: int) -> list[tuple[int, int]]:
        """Takes away what has ended in some shards, in one round trip.

        For each shard, how many were looked at and how many taken; with `CHUNK` looked at there may be more. Raises
        StoreError when a shard could not be swept; the others were.
        """
        calls: list[tuple[list[str], list[Arg]]] = [
            (
                [keys.deadlines_key(shard), keys.outbox_key(shard)],
                [now_ms, f"{keys.prefix(shard)}a:", f"{keys.prefix(shard)}e:", CHUNK, "expired"],
            )
            for shard in shards
        ]
        replies = await self._sweep.many(calls)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return [(looked, taken) for looked, taken, _ in replies]

    async def sweep_edge(self, shard: int, edge_uid: str, now_ms: int, most: int = CHUNK) -> tuple[int, int]:
        """Takes away bindings of a front end that is gone; how many were looked at and how many taken. Raises StoreError."""
        prefix = keys.prefix(shard)
        looked, taken, _ = await self._sweep(
            [keys.deadlines_key(shard), keys.outbox_key(shard), keys.edge_key(shard, edge_uid)],
            [now_ms, f"{prefix}a:", f"{prefix}e:", most, "edge", edge_uid],
        )
        return looked, taken

    async def sweep_flows(
        self, shard: int, edge_uid: str, first_connection: int, now_ms: int, cursor: str
    ) -> tuple[int, str]:
        """Takes away bindings of a front end over flows with lower numbers than the first of its run, a chunk of them.

        How many were taken, and the cursor to go on with. It is "0" at first, and when that was all. Raises StoreError.
        """
        prefix = keys.prefix(shard)
        _, taken, following = await self._sweep(
            [keys.deadlines_key(shard), keys.outbox_key(shard), keys.edge_key(shard, edge_uid)],
            [now_ms, f"{prefix}a:", f"{prefix}e:", CHUNK, "flows", edge_uid, first_connection, cursor],
        )
        return taken, following.decode()

    async def page(self, place: Place, count: int) -> tuple[list[tuple[str, StoredBinding]], Place]:
        """At most so many bindings of one shard, for people, and where to go on. Raises StoreError."""
        reply = await self._page([keys.deadlines_key(place.shard)], [
            f"{keys.prefix(place.shard)}a:", count, place.deadline, place.member.encode("utf-8", "surrogateescape"),
        ])  # fmt: skip
        found = []
        for index in range(0, len(reply), 3):
            member, field = reply[index].decode("utf-8", "surrogateescape"), reply[index + 2]
            if field:
                found.append((member.partition("\n")[0], unpack(field)))
        if len(reply) < 3 * count:
            return found, Place(place.shard + 1)
        return found, Place(place.shard, reply[-2].decode(), reply[-3].decode("utf-8", "surrogateescape"))

    async def count(self) -> int:
        """Bindings of all shards, those that have ended but were not swept among them. Raises StoreError."""
        sizes = await self._store.pipeline([["ZCARD", keys.deadlines_key(shard)] for shard in range(SHARDS)])
        for size in sizes:
            if isinstance(size, BaseException):
                raise size
        return sum(sizes)


def decode_event(raw: bytes) -> Record:
    """An entry of the outbox, as the scripts write it."""
    kind, sequence, left, now, aor, traceparent, field = raw.split(b"\n", 6)
    binding = unpack(field).binding
    message = RegistrationChanged(
        kind=RegistrationChanged.Kind.Value(_KINDS[int(kind)]),
        aor=aor.decode("utf-8", "replace"),
        contact=binding.contact,
        instance=binding.instance,
        epid=binding.epid,
        user_agent=binding.user_agent,
        edge_uid=binding.flow.edge_uid,
        at_ms=int(now),
        remaining=int(left),
        sequence=int(sequence),
        call_id=binding.call_id,
    )
    return Record(TOPIC, message.aor, message, traceparent.decode())
