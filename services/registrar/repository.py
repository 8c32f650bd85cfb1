"""Bindings in Redis: batches of updates and look-ups, each batch one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parley.platform.outbox import Record
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.store.link import Arg
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from services.registrar import keys
from services.registrar.bindings import StoredBinding, unpack

TOPIC = "parley.registrations"

_KINDS = ("", "KIND_REGISTERED", "KIND_UNREGISTERED", "KIND_EXPIRED", "KIND_FLOW_LOST")


@dataclass(slots=True)
class Change:
    """One update, ready for the script."""

    aor: str
    call_id: str
    cseq: int
    mode: str
    """"set", "clear" or "flow"."""
    contacts: list[tuple[str, int, bytes]]
    """Binding id, deadline in ms (0 removes), packed binding."""
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


class BindingRepository:
    """The registrar's view of the store."""

    def __init__(self, store: Store, max_bindings: int) -> None:
        self._store = store
        self._max_bindings = max_bindings
        self._update = store.script("services.registrar", "update.lua")
        self._sweep = store.script("services.registrar", "sweep.lua")

    async def apply(self, changes: Sequence[Change], now_ms: int) -> list[ChangeResult | StoreError]:
        """Applies updates, each atomically; results in their order."""
        calls = [self._call(change, now_ms) for change in changes]
        replies = await self._update.many(calls, [change.traceparent for change in changes])
        return [
            reply if isinstance(reply, StoreError) else ChangeResult(reply[0], reply[1] == 1, list(map(unpack, reply[2:])))
            for reply in replies
        ]

    def _call(self, change: Change, now_ms: int) -> tuple[list[str], list[Arg]]:
        shard = keys.shard_of(change.aor)
        prefix = keys.prefix(shard)
        args: list[Arg] = [
            now_ms, self._max_bindings, change.call_id.replace("\n", " "), change.cseq, f"{prefix}e:", change.aor,
            change.mode, change.traceparent, change.edge_uid, change.connection_id,
        ]  # fmt: skip
        for binding_id, deadline, packed in change.contacts:
            args += (binding_id, deadline, change.edge_uid, packed)
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

    async def sweep_expired(self, shard: int, now_ms: int, most: int = 500) -> tuple[int, int]:
        """Takes away what has ended; how many were looked at and how many taken."""
        prefix = keys.prefix(shard)
        looked, taken = await self._sweep(
            [keys.deadlines_key(shard), keys.outbox_key(shard)],
            [now_ms, f"{prefix}a:", f"{prefix}e:", most, "expired", ""],
        )
        return looked, taken

    async def sweep_edge(self, shard: int, edge_uid: str, now_ms: int, most: int = 500) -> tuple[int, int]:
        """Takes away bindings of a front end that is gone; how many were looked at and how many taken."""
        prefix = keys.prefix(shard)
        looked, taken = await self._sweep(
            [keys.deadlines_key(shard), keys.outbox_key(shard), keys.edge_key(shard, edge_uid)],
            [now_ms, f"{prefix}a:", f"{prefix}e:", most, "edge", edge_uid],
        )
        return looked, taken

    async def page(self, shard: int, offset: int, count: int) -> list[tuple[str, StoredBinding]]:
        """Bindings of a shard by the time they end, for people."""
        members = await self._store.execute("ZRANGE", keys.deadlines_key(shard), offset, offset + count - 1)
        pairs = [member.decode("utf-8", "surrogateescape").partition("\n") for member in members]
        values = await self._store.pipeline([["HGET", keys.bindings_key(aor), known_by] for aor, _, known_by in pairs])
        return [(aor, unpack(value)) for (aor, _, _), value in zip(pairs, values, strict=True) if isinstance(value, bytes)]

    async def count(self) -> int:
        """Bindings of all shards, those that have ended but were not swept among them."""
        sizes = await self._store.pipeline([["ZCARD", keys.deadlines_key(shard)] for shard in range(keys.SHARDS)])
        return sum(size for size in sizes if isinstance(size, int))


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
