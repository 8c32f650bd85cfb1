"""Calls between services: the same whether they share a process or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.rpc.batch import BatchClient, batch_handler
from parley.platform.rpc.duplex import DuplexClient, duplex_handler
from parley.platform.rpc.errors import RpcError, http_status, sip_status
from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2_grpc import (
    RegistrarServicer,
    RegistrarStub,
    add_RegistrarServicer_to_server,
)
from parley.proto.sip.v1 import edge_pb2
from parley.proto.sip.v1.edge_pb2_grpc import EdgeServicer, add_EdgeServicer_to_server

REGISTRAR = "parley.registrar.v1.Registrar"
EDGE = "parley.sip.v1.Edge"
Lookups = BatchClient[pb.BindingLookup, pb.BindingLookupResult]


class Registrar(RegistrarServicer):
    """Answers with the address asked for; some addresses are special."""

    def __init__(self) -> None:
        self.Lookup: Any = batch_handler(self.lookup, pb.LookupResponse)
        self.batches: list[int] = []

    async def lookup(self, items: Sequence[pb.BindingLookup]) -> Sequence[pb.BindingLookupResult]:
        self.batches.append(len(items))
        if any(item.aor == "crash" for item in items):
            raise RuntimeError("a secret detail")
        if any(item.aor == "away" for item in items):
            raise RpcError(StatusCode.UNAVAILABLE, "the store is away")
        if any(item.aor == "slow" for item in items):
            await asyncio.sleep(30)
        return [pb.BindingLookupResult(id=item.id, bindings=[pb.Binding(contact=item.aor)]) for item in items]

    async def ListEdges(self, request: pb.ListEdgesRequest, context: Any) -> pb.ListEdgesResponse:
        raise RpcError(StatusCode.NOT_FOUND, "no edges")

    async def ListBindings(self, request: pb.ListBindingsRequest, context: Any) -> pb.ListBindingsResponse:
        return pb.ListBindingsResponse(now_ms=5)


class Echo:
    """Two events for every item, none for the id 2."""

    closed = 0

    def on_item(self, item: edge_pb2.Delivery, send: Any) -> None:
        if item.id != 2:
            send(edge_pb2.DeliveryEvent(id=item.id))
            send(edge_pb2.DeliveryEvent(id=item.id, ended=True))

    def on_closed(self) -> None:
        Echo.closed += 1


class Edge(EdgeServicer):
    """Serves exchanges."""

    def __init__(self) -> None:
        self.Deliver: Any = duplex_handler(Echo, edge_pb2.DeliverResponse)


class Both:
    """A host with the services, and channels to them."""

    def __init__(self, host: RpcHost, registrar: Registrar, remote: bool) -> None:
        self.host = host
        self.registrar = registrar
        self._remote = remote

    def channel(self, service: str) -> Any:
        return self.host.channel(service, self.host.addresses[0] if self._remote else None)

    def lookups(self, **options: int) -> Lookups:
        return BatchClient(self.channel(REGISTRAR), f"/{REGISTRAR}/Lookup", pb.LookupRequest, pb.LookupResponse, **options)


@pytest.fixture(params=["here", "remote"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Both]:
    registrar = Registrar()
    host = RpcHost(listen=["127.0.0.1:0"])
    host.add_service(add_RegistrarServicer_to_server, registrar, REGISTRAR)
    host.add_service(add_EdgeServicer_to_server, Edge(), EDGE)
    await host.start()
    yield Both(host, registrar, request.param == "remote")
    await host.stop(0)


async def test_items_travel_together_and_find_their_results(both: Both) -> None:
    client = both.lookups()
    results = await asyncio.gather(*(client.call(pb.BindingLookup(aor=f"a{i}"), timeout=5) for i in range(200)))
    assert [result.bindings[0].contact for result in results] == [f"a{i}" for i in range(200)]
    assert sum(both.registrar.batches) == 200
    assert len(both.registrar.batches) < 50
    await client.stop()


@pytest.mark.parametrize(("aor", "code"), [("crash", StatusCode.INTERNAL), ("away", StatusCode.UNAVAILABLE)])
async def test_failures_have_a_status_and_no_details(both: Both, aor: str, code: StatusCode) -> None:
    client = both.lookups()
    with pytest.raises(RpcError) as failed:
        await client.call(pb.BindingLookup(aor=aor), timeout=5)
    assert failed.value.code is code
    assert "secret" not in str(failed.value)
    assert (await client.call(pb.BindingLookup(aor="next"), timeout=5)).bindings[0].contact == "next"
    await client.stop()


async def test_deadline_and_overload(both: Both) -> None:
    client = both.lookups(max_in_flight=1)
    waiting = asyncio.ensure_future(client.call(pb.BindingLookup(aor="slow"), timeout=0.2))
    await asyncio.sleep(0)
    with pytest.raises(RpcError) as refused:
        await client.call(pb.BindingLookup(aor="x"), timeout=1)
    assert refused.value.code is StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(RpcError) as late:
        await waiting
    assert late.value.code is StatusCode.DEADLINE_EXCEEDED
    await client.stop()


async def test_unary_calls_and_their_errors(both: Both) -> None:
    stub = both.channel(REGISTRAR).stub(RegistrarStub)
    assert (await stub.ListBindings(pb.ListBindingsRequest())).now_ms == 5
    with pytest.raises(RpcError) as failed:
        await stub.ListEdges(pb.ListEdgesRequest())
    assert (failed.value.code, failed.value.message) == (StatusCode.NOT_FOUND, "no edges")


async def test_exchanges_have_several_events_and_their_session_ends(both: Both) -> None:
    client: DuplexClient[Any, Any] = DuplexClient(
        both.channel(EDGE), f"/{EDGE}/Deliver", edge_pb2.DeliverRequest, edge_pb2.DeliverResponse
    )
    events: list[Any] = []
    done = asyncio.Event()

    def on_event(event: Any) -> None:
        events.append(event)
        if event.ended:
            done.set()

    client.open(edge_pb2.Delivery(), on_event)
    await asyncio.wait_for(done.wait(), 5)
    assert [event.ended for event in events] == [False, True]
    before = Echo.closed
    await client.stop()
    for _ in range(100):
        if Echo.closed > before:
            break
        await asyncio.sleep(0.02)
    assert Echo.closed == before + 1


async def test_a_broken_stream_fails_what_is_under_way_and_the_next_call_reconnects() -> None:
    registrar = Registrar()
    host = RpcHost(listen=["127.0.0.1:0"])
    host.add_service(add_RegistrarServicer_to_server, registrar, REGISTRAR)
    await host.start()
    address = host.addresses[0]
    caller = RpcHost()
    client: Lookups = BatchClient(
        caller.channel(REGISTRAR, address), f"/{REGISTRAR}/Lookup", pb.LookupRequest, pb.LookupResponse
    )
    assert (await client.call(pb.BindingLookup(aor="a"), timeout=5)).bindings
    waiting = asyncio.ensure_future(client.call(pb.BindingLookup(aor="slow"), timeout=20))
    await asyncio.sleep(0.1)
    await host.stop(0)
    with pytest.raises(RpcError):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(RpcError):
        await asyncio.wait_for(client.call(pb.BindingLookup(aor="b"), timeout=20), 5)
    again = RpcHost(listen=[address])
    again.add_service(add_RegistrarServicer_to_server, registrar, REGISTRAR)
    await again.start()
    for _ in range(100):
        try:
            assert (await client.call(pb.BindingLookup(aor="c"), timeout=5)).bindings
            break
        except RpcError:
            await asyncio.sleep(0.1)
    else:
        raise AssertionError("it did not reconnect")
    await client.stop()
    await caller.stop()
    await again.stop(0)


def test_tables_of_statuses() -> None:
    assert sip_status(StatusCode.UNAVAILABLE, spread=False) == (503, 5)
    assert sip_status(StatusCode.DEADLINE_EXCEEDED, spread=False)[0] == 504
    assert sip_status(StatusCode.NOT_FOUND) == (404, 0)
    assert sip_status(StatusCode.INTERNAL)[0] == 500
    assert http_status(StatusCode.UNAVAILABLE) == 503
    assert 5 <= sip_status(StatusCode.UNAVAILABLE)[1] <= 10
