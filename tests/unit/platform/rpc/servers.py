"""Servicers for the tests, on real protos: `Registrar.Lookup` for batches, `Edge.Deliver` for exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from parley.platform.rpc.batch import BatchClient, batch_handler
from parley.platform.rpc.channels import Channel
from parley.platform.rpc.duplex import DuplexClient, duplex_handler
from parley.platform.rpc.host import MutualTls, RpcHost
from parley.platform.telemetry.tracing import NO_TRACER, Tracer
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarServicer, add_RegistrarServicer_to_server
from parley.proto.sip.v1 import edge_pb2
from parley.proto.sip.v1.edge_pb2_grpc import EdgeServicer, add_EdgeServicer_to_server

REGISTRAR = "parley.registrar.v1.Registrar"
EDGE = "parley.sip.v1.Edge"

caller_var: ContextVar[str] = ContextVar("caller", default="nobody")


class Registrar(RegistrarServicer):
    """Answers look-ups with ``now_ms`` of its own; ``gate`` holds answers back."""

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.batches: list[int] = []
        self.callers: list[str] = []
        self.failure: Exception | None = None
        self.answer: Callable[[Sequence[Any]], Sequence[Any]] | None = None
        self.Lookup: Any = batch_handler(self.lookup, pb.LookupResponse)

    async def lookup(self, items: Sequence[pb.BindingLookup]) -> Sequence[pb.BindingLookupResult]:
        self.batches.append(len(items))
        self.callers.append(caller_var.get())
        self.arrived.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            return self.answer(items)
        return [
            pb.BindingLookupResult(id=item.id, now_ms=self.number, bindings=[pb.Binding(contact=item.aor)])
            for item in reversed(items)
        ]

    async def ListEdges(self, request: pb.ListEdgesRequest, context: Any) -> pb.ListEdgesResponse:
        self.arrived.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return pb.ListEdgesResponse(edges=[pb.ListEdgesResponse.Edge(edge_uid=str(self.number))])

    async def KeepLease(self, request: pb.KeepLeaseRequest, context: Any) -> pb.KeepLeaseResponse:
        raise NotImplementedError

    async def ListBindings(self, request: pb.ListBindingsRequest, context: Any) -> pb.ListBindingsResponse:
        raise NotImplementedError

    def Update(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError

    def TakeOnce(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError


@dataclass
class Exchanges:
    """A session that remembers what came; "boom" as Reason makes it fail."""

    items: list[edge_pb2.Delivery] = field(default_factory=list)
    send: Callable[[Any], None] | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_item(self, item: edge_pb2.Delivery, send: Callable[[Any], None]) -> None:
        self.items.append(item)
        self.send = send
        if item.cancel_reason == "boom":
            raise KeyError("boom")
        if item.WhichOneof("kind") == "cancel_reason":
            send(edge_pb2.DeliveryEvent(id=item.id, ended=True))
            return
        for status in (100, 200):
            event = edge_pb2.DeliveryEvent(id=item.id)
            event.response.summary.status = status
            send(event)

    def on_closed(self) -> None:
        self.closed.set()


class Edge(EdgeServicer):
    """A front end whose sessions can be looked at."""

    def __init__(self) -> None:
        self.sessions: list[Exchanges] = []
        self.Deliver: Any = duplex_handler(self._new, edge_pb2.DeliverResponse)

    async def CheckNonce(self, request: edge_pb2.CheckNonceRequest, context: Any) -> edge_pb2.CheckNonceResponse:
        raise NotImplementedError

    async def ListCalls(self, request: edge_pb2.ListCallsRequest, context: Any) -> edge_pb2.ListCallsResponse:
        raise NotImplementedError

    def _new(self) -> Exchanges:
        self.sessions.append(Exchanges())
        return self.sessions[-1]


@dataclass
class Peer:
    """A process that serves both."""

    host: RpcHost
    registrar: Registrar
    edge: Edge

    @property
    def target(self) -> str:
        return self.host.addresses[0]

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])


async def start_peer(
    *, port: int = 0, number: int = 1, tls: MutualTls | None = None, tracer: Tracer = NO_TRACER, listen: bool = True
) -> Peer:
    host = RpcHost(listen=[f"127.0.0.1:{port}"] if listen else [], tls=tls)
    peer = Peer(host, Registrar(number), Edge())
    host.add_service(add_RegistrarServicer_to_server, peer.registrar, REGISTRAR, tracer)
    host.add_service(add_EdgeServicer_to_server, peer.edge, EDGE)
    await host.start()
    return peer


LookupClient = BatchClient[pb.BindingLookup, pb.BindingLookupResult]
DeliverClient = DuplexClient[edge_pb2.Delivery, edge_pb2.DeliveryEvent]


def lookup_client(channel: Channel, **options: Any) -> LookupClient:
    return BatchClient(channel, f"/{REGISTRAR}/Lookup", pb.LookupRequest, pb.LookupResponse, **options)


def deliver_client(channel: Channel, **options: Any) -> DeliverClient:
    return DuplexClient(channel, f"/{EDGE}/Deliver", edge_pb2.DeliverRequest, edge_pb2.DeliverResponse, **options)


def lookup(aor: str = "sip:alice@example.test") -> pb.BindingLookup:
    return pb.BindingLookup(aor=aor)
