"""The gRPC surface of the registrar (proto parley.registrar.v1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from grpc import StatusCode

from parley.platform.clock import Clock
from parley.platform.rpc.batch import batch_handler
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError, StoreTimeout
from parley.platform.store.shards import SHARDS, shard_of
from parley.platform.telemetry.counters import FastCounter
from parley.platform.telemetry.tracing import NO_SPAN, Span, Tracer
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarServicer
from parley.proto.sip.v1.message_pb2 import ItemStatus
from parley.sip.gruu import TemporaryGruus, public_gruu
from services.registrar.bindings import StoredBinding, binding_id, by_preference, lifetime, make_binding, mark
from services.registrar.config import RegistrarConfig
from services.registrar.edges import EdgeLeases
from services.registrar.repository import BindingRepository, Change, ChangeResult, Place

_UPDATES = FastCounter("parley_registrar_updates_total", "REGISTER requests applied, by outcome", ["outcome"])
_LOOKUPS = FastCounter("parley_registrar_lookups_total", "Look-ups, by whether bindings were found", ["found"])
_DIGEST_BYTES = 32
_MOST_TTL_MS = 86_400_000
_OUTCOMES = {1: "ok", 2: "interval_too_brief", 3: "too_many_bindings", 4: "out_of_order"}


class RegistrarSurface(RegistrarServicer):
    """Serves updates and look-ups in batches, and the rest one by one."""

    def __init__(
        self,
        config: RegistrarConfig,
        repository: BindingRepository,
        edges: EdgeLeases,
        gruus: TemporaryGruus,
        clock: Clock,
        tracer: Tracer,
        on_events: Callable[[int], None],
    ) -> None:
        self._config = config
        self._repository = repository
        self._edges = edges
        self._gruus = gruus
        self._clock = clock
        self._tracer = tracer
        self._on_events = on_events
        self._counted = {number: _UPDATES.labels(name) for number, name in _OUTCOMES.items()}
        self._unavailable = _UPDATES.labels("unavailable")
        self._found, self._not_found = _LOOKUPS.labels("yes"), _LOOKUPS.labels("no")
        self.Update: Any = batch_handler(self.update, pb.UpdateResponse)
        self.Lookup: Any = batch_handler(self.lookup, pb.LookupResponse)
        self.TakeOnce: Any = batch_handler(self.take_once, pb.TakeOnceResponse)

    def _now_ms(self) -> int:
        return round(self._clock.wall() * 1000)

    # Updates

    async def update(self, items: Sequence[pb.BindingUpdate]) -> Sequence[pb.BindingUpdateResult]:
        """Applies REGISTER requests."""
        now_ms = self._now_ms()
        results: list[pb.BindingUpdateResult] = []
        changes: list[Change] = []
        waiting: list[tuple[pb.BindingUpdate, Span]] = []
        for item in items:
            span = self._span("registrar.update", item.traceparent, item.call_id, item.aor)
            change = self._change(item, now_ms)
            if change is None:
                self._counted[2].inc()
                span.end()
                results.append(self._result(item, pb.BindingUpdateResult.OUTCOME_INTERVAL_TOO_BRIEF, now_ms))
                continue
            change.traceparent = span.traceparent or item.traceparent
            changes.append(change)
            waiting.append((item, span))
        if changes:
            applied = await self._repository.apply(changes, now_ms)
            for (item, span), outcome in zip(waiting, applied, strict=True):
                results.append(self._applied(item, outcome, now_ms))
                span.end("error" if isinstance(outcome, StoreError) else "ok")
        return results

    def _span(self, name: str, parent: str, call_id: str, aor: str) -> Span:
        if not self._tracer.enabled:
            return NO_SPAN
        return self._tracer.start(name, kind="server", parent=parent, attributes={"sip.call_id": call_id, "sip.aor": aor})

    def _change(self, item: pb.BindingUpdate, now_ms: int) -> Change | None:
        """The update as the script takes it; None when an interval is too brief."""
        common = item.common
        mode = "flow" if item.flow_closed else "clear" if item.remove_all else "set"
        contacts: dict[str, tuple[str, int, str, bytes]] = {}
        if mode == "set":
            for contact in item.contacts:
                seconds = lifetime(contact, self._config)
                if seconds is None:
                    return None
                known_by = binding_id(contact)
                if seconds == 0:
                    contacts[known_by] = (known_by, 0, "", b"")
                    continue
                deadline = now_ms + seconds * 1000
                binding = make_binding(item, contact, deadline)
                if item.gruu and contact.instance:
                    binding.pub_gruu = public_gruu(item.aor, contact.instance)
                    binding.temp_gruu = self._gruus.make(item.aor, contact.instance)
                contacts[known_by] = (known_by, deadline, mark(contact), binding.SerializeToString())
        return Change(
            item.aor, item.call_id, item.cseq, mode, list(contacts.values()),
            common.flow.edge_uid, common.flow.connection_id,
        )  # fmt: skip

    def _applied(self, item: pb.BindingUpdate, outcome: ChangeResult | StoreError, now_ms: int) -> pb.BindingUpdateResult:
        if isinstance(outcome, StoreError):
            self._unavailable.inc()
            return pb.BindingUpdateResult(id=item.id, status=_status(outcome))
        self._counted[outcome.outcome].inc()
        if outcome.changed:
            self._on_events(shard_of(item.aor))
        return self._result(item, outcome.outcome, now_ms, outcome.bindings)

    def _result(
        self, item: pb.BindingUpdate, outcome: int, now_ms: int, stored: Sequence[StoredBinding] = ()
    ) -> pb.BindingUpdateResult:
        return pb.BindingUpdateResult(
            id=item.id,
            outcome=outcome,  # type: ignore[arg-type]  # the numbers are those of the enum
            bindings=[entry.binding for entry in stored],
            min_expires=self._config.min_expires if outcome == 2 else 0,
            now_ms=now_ms,
        )

    # Look-ups

    async def lookup(self, items: Sequence[pb.BindingLookup]) -> Sequence[pb.BindingLookupResult]:
        """The live bindings of addresses of record, each with the address of the front end that holds its flow."""
        now_ms = self._now_ms()
        spans = [self._span("registrar.lookup", item.traceparent, "", item.aor) for item in items]
        found = await self._repository.lookup([item.aor for item in items])
        await self._edges.learn(
            entry.binding.flow.edge_uid for stored in found if not isinstance(stored, StoreError) for entry in stored
        )
        results = []
        for item, stored, span in zip(items, found, spans, strict=True):
            span.end("error" if isinstance(stored, StoreError) else "ok")
            if isinstance(stored, StoreError):
                results.append(pb.BindingLookupResult(id=item.id, status=_status(stored)))
                continue
            live = by_preference([entry.binding for entry in stored if entry.deadline_ms > now_ms])
            for binding in live:
                binding.edge_address = self._edges.address_of_flow(binding.flow)
            (self._found if live else self._not_found).inc()
            results.append(pb.BindingLookupResult(id=item.id, bindings=live, now_ms=now_ms))
        return results

    # What may be used once

    async def take_once(self, items: Sequence[pb.OnceItem]) -> Sequence[pb.OnceResult]:
        """Says of each item whether this is its first use."""
        results, valid = [], []
        for item in items:
            if len(item.digest) == _DIGEST_BYTES and (item.look or 0 < item.ttl_ms <= _MOST_TTL_MS):
                valid.append(item)
            else:
                status = ItemStatus(code=StatusCode.INVALID_ARGUMENT.value[0], message="no SHA-256, or no ttl_ms of a day")
                results.append(pb.OnceResult(id=item.id, status=status))
        uses = [(item.digest, None if item.look else item.ttl_ms) for item in valid]
        outcomes = await self._repository.take_once(uses) if uses else []
        for item, outcome in zip(valid, outcomes, strict=True):
            if isinstance(outcome, StoreError):
                results.append(pb.OnceResult(id=item.id, status=_status(outcome)))
            else:
                results.append(pb.OnceResult(id=item.id, first=outcome))
        return results

    # For people, and for front ends

    async def ListBindings(self, request: pb.ListBindingsRequest, context: Any) -> pb.ListBindingsResponse:
        """Pages through the shards; a page token is the place where the page before ended.

        The leases are read anew: who looks wants to know what is within reach now, not a second ago.
        """
        response = pb.ListBindingsResponse(now_ms=self._now_ms())
        size = min(request.page_size or 100, 1000)
        try:
            await self._edges.refresh()
            if request.aor:
                (stored,) = await self._repository.lookup([request.aor])
                if isinstance(stored, StoreError):
                    raise stored
                entries = [(request.aor, entry) for entry in stored]
                self._add_entries(response, entries)
                return response
            place = Place.parse(request.page_token)
            while place.shard < SHARDS and len(response.entries) < size:
                page, place = await self._repository.page(place, size - len(response.entries))
                self._add_entries(response, page)
            if place.shard < SHARDS:
                response.next_page_token = str(place)
        except ValueError:
            raise RpcError(StatusCode.INVALID_ARGUMENT, "no such page") from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return response

    def _add_entries(self, response: pb.ListBindingsResponse, page: Sequence[tuple[str, StoredBinding]]) -> None:
        for aor, stored in page:
            if stored.deadline_ms > response.now_ms:
                entry = response.entries.add(aor=aor, binding=stored.binding)
                entry.binding.edge_address = self._edges.address_of_flow(stored.binding.flow)

    async def KeepLease(self, request: pb.KeepLeaseRequest, context: Any) -> pb.KeepLeaseResponse:
        """Begins, renews or ends the lease of a front end."""
        if not request.edge_uid or "\n" in request.edge_uid:
            raise RpcError(StatusCode.INVALID_ARGUMENT, "a lease needs an edge_uid")
        if not request.release and not (request.address and request.ttl_ms):
            raise RpcError(StatusCode.INVALID_ARGUMENT, "a lease needs an address and a ttl_ms")
        try:
            if request.release:
                await self._edges.release(request.edge_uid)
            else:
                await self._edges.keep(request.edge_uid, request.address, request.ttl_ms, request.first_connection)
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return pb.KeepLeaseResponse()

    async def ListEdges(self, request: pb.ListEdgesRequest, context: Any) -> pb.ListEdgesResponse:
        """The front ends that hold a lease."""
        try:
            await self._edges.refresh()
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return pb.ListEdgesResponse(
            edges=[
                pb.ListEdgesResponse.Edge(
                    edge_uid=lease.edge_uid,
                    address=lease.address,
                    expires_at_ms=lease.expires_at_ms,
                    first_connection=lease.first_connection,
                )
                for lease in self._edges.live()
            ]
        )


def _status(error: StoreError) -> ItemStatus:
    code = StatusCode.DEADLINE_EXCEEDED if isinstance(error, StoreTimeout) else StatusCode.UNAVAILABLE
    return ItemStatus(code=code.value[0], message="the store is away")
