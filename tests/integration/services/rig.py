"""A registrar on a real store, with a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from parley.platform.clock import FakeClock
from parley.platform.config import RedisConfig
from parley.platform.events.api import EventBusError
from parley.platform.store.client import Store
from parley.platform.store.shards import shard_of
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.sip.gruu import TemporaryGruus
from services.registrar import keys
from services.registrar.config import RegistrarConfig
from services.registrar.edges import EdgeLeases
from services.registrar.repository import BindingRepository, decode_event
from services.registrar.service import RegistrarSurface
from services.registrar.sweeper import Sweeper
from tests.support.valkey import Valkey

ALICE = "sip:alice@example.test"
OK = pb.BindingUpdateResult.OUTCOME_OK
TOO_BRIEF = pb.BindingUpdateResult.OUTCOME_INTERVAL_TOO_BRIEF
TOO_MANY = pb.BindingUpdateResult.OUTCOME_TOO_MANY_BINDINGS
OUT_OF_ORDER = pb.BindingUpdateResult.OUTCOME_OUT_OF_ORDER
GRUU_KEY = b"k" * 32


class Registrar:
    """One registrar without its tasks: tests sweep and relay when they want to."""

    def __init__(self, store: Store, clock: FakeClock, **config: Any) -> None:
        self.config = RegistrarConfig(**config)
        self.store = store
        self.clock = clock
        self.repository = BindingRepository(store, self.config.max_bindings)
        self.edges = EdgeLeases(store, clock)
        self.woken: list[int] = []
        gruus = TemporaryGruus(GRUU_KEY)
        self.surface = RegistrarSurface(self.config, self.repository, self.edges, gruus, clock, NO_TRACER, self.woken.append)
        self.sweeper = Sweeper(
            self.repository, self.edges, clock, interval_s=self.config.sweep_interval, grace_s=self.config.edge_grace,
            on_events=self.woken.append,
        )  # fmt: skip

    async def register(
        self, *contacts: pb.ContactUpdate, aor: str = ALICE, call_id: str = "c1", cseq: int = 1, edge: str = "edge-1",
        connection: int = 1, gruu: bool = False,
    ) -> pb.BindingUpdateResult:  # fmt: skip
        """One REGISTER."""
        item = pb.BindingUpdate(id=7, aor=aor, call_id=call_id, cseq=cseq, contacts=contacts, gruu=gruu)
        item.common.flow.edge_uid = edge
        item.common.flow.connection_id = connection
        item.common.user_agent = "test"
        return await self.apply(item)

    async def remove_all(self, *, aor: str = ALICE, call_id: str = "c1", cseq: int = 2) -> pb.BindingUpdateResult:
        """A REGISTER with Contact: *."""
        return await self.apply(pb.BindingUpdate(id=7, aor=aor, call_id=call_id, cseq=cseq, remove_all=True))

    async def close_flow(self, edge: str, connection: int, *, aor: str = ALICE) -> pb.BindingUpdateResult:
        """The flow of a binding closed."""
        item = pb.BindingUpdate(id=7, aor=aor, flow_closed=True)
        item.common.flow.edge_uid = edge
        item.common.flow.connection_id = connection
        return await self.apply(item)

    async def apply(self, item: pb.BindingUpdate) -> pb.BindingUpdateResult:
        """The result of one update."""
        (result,) = await self.surface.update([item])
        assert result.id == 7
        return result

    async def lookup(self, aor: str = ALICE) -> list[pb.Binding]:
        """The live bindings."""
        (result,) = await self.surface.lookup([pb.BindingLookup(id=3, aor=aor)])
        assert (result.id, result.status.code) == (3, 0)
        return list(result.bindings)

    async def listed(self) -> list[pb.ListBindingsResponse.Entry]:
        """All bindings, as far as one page goes."""
        page = await self.surface.ListBindings(pb.ListBindingsRequest(page_size=1000), None)
        return list(page.entries)

    async def lease(self, edge: str, ttl_ms: int = 5000, first_connection: int = 0) -> None:
        """A front end renews its lease."""
        request = pb.KeepLeaseRequest(
            edge_uid=edge, address=f"ipv4:{edge}:9090", ttl_ms=ttl_ms, first_connection=first_connection
        )
        await self.surface.KeepLease(request, None)

    async def release(self, edge: str) -> None:
        """A front end leaves."""
        await self.surface.KeepLease(pb.KeepLeaseRequest(edge_uid=edge, release=True), None)

    async def steady(self) -> int:
        """Sweeps until leases that ended count; how many bindings that took away."""
        taken = await self.sweeper.sweep()
        for _ in range(round(self.config.edge_grace) + 1):
            self.clock.advance(1)
            taken += await self.sweeper.sweep()
        return taken

    async def events(self, aor: str = ALICE) -> list[RegistrationChanged]:
        """What waits in the outbox of a user's shard, for this user."""
        raw = await self.store.execute("LRANGE", keys.outbox_key(shard_of(aor)), 0, -1)
        messages: list[Any] = [decode_event(entry).message for entry in raw]
        return [message for message in messages if message.aor == aor]

    async def kinds(self, aor: str = ALICE) -> list[str]:
        """The kinds of those events."""
        return [RegistrationChanged.Kind.Name(event.kind).removeprefix("KIND_") for event in await self.events(aor)]


def contact(
    uri: str = "sip:alice@192.0.2.1:5060", *, expires: int | None = 600, instance: str = "", reg_id: int = 0, epid: str = "",
    q: int = 1000,
) -> pb.ContactUpdate:  # fmt: skip
    """A contact of a REGISTER."""
    update = pb.ContactUpdate(contact=uri, contact_header=f"<{uri}>", instance=instance, reg_id=reg_id, epid=epid, q_milli=q)
    if expires is not None:
        update.expires = expires
    return update


@asynccontextmanager
async def store_of(url: str, *, cluster: bool = False, timeout_s: float = 2.0) -> AsyncIterator[Store]:
    """A store, closed at the end."""
    store = Store(RedisConfig(url=url, cluster=cluster), timeout_s=timeout_s)
    try:
        yield store
    finally:
        await store.close()


def all_keys(server: Valkey) -> set[str]:
    """All keys that are there."""
    found: list[bytes] = server.ask("KEYS", "*")
    return {key.decode() for key in found}


class Bus:
    """Takes events; told to, it is away."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, Any, str]] = []
        self.away = False
        self.fail_after: int | None = None

    async def start(self) -> None:
        """Nothing to do."""

    async def check(self) -> None:
        """Raises EventBusError while away."""
        if self.away:
            raise EventBusError("the bus is away")

    async def stop(self) -> None:
        """Nothing to do."""

    async def publish(self, topic: str, key: str, message: Any, *, traceparent: str = "") -> None:
        """Raises EventBusError while away."""
        if self.away or (self.fail_after is not None and len(self.taken) >= self.fail_after):
            raise EventBusError("the bus is away")
        self.taken.append((topic, key, message, traceparent))

    def subscribe(self, topic: str, message_type: Any, handler: Any, *, group: str | None = None) -> Any:
        """Nobody subscribes here."""
        raise NotImplementedError

    @property
    def messages(self) -> Sequence[Any]:
        """What was taken."""
        return [message for _, _, message, _ in self.taken]
