"""Connections and streams that are replaced while calls go on: nothing is lost, and an added server gets its share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub, add_RegistrarServicer_to_server
from parley.proto.sip.v1.edge_pb2 import Delivery
from parley.proto.sip.v1.edge_pb2_grpc import add_EdgeServicer_to_server
from tests.support.dns_server import DnsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.unit.platform.rpc.servers import EDGE, REGISTRAR, Edge, Registrar, deliver_client, lookup, lookup_client
from tests.unit.platform.rpc.test_duplex import Events, invite

AGE_S = 0.3
"""Of connections; gRPC gives them a little more or less, and closes them after that."""
LONG_S = 8 * AGE_S


class Counting(Registrar):
    """Knows by which connections it was called."""

    def __init__(self, number: int = 1) -> None:
        super().__init__(number)
        self.peers: set[str] = set()

    async def ListEdges(self, request: pb.ListEdgesRequest, context: Any) -> pb.ListEdgesResponse:
        self.peers.add(context.peer())
        return await super().ListEdges(request, context)


class Server:
    """A process that asks its clients to connect anew all the time."""

    def __init__(self, address: str = "127.0.0.1:0", number: int = 1, age_s: float = AGE_S) -> None:
        self.host = RpcHost(listen=[address], max_age_s=age_s)
        self.registrar, self.edge = Counting(number), Edge()
        self.host.add_service(add_RegistrarServicer_to_server, self.registrar, REGISTRAR)
        self.host.add_service(add_EdgeServicer_to_server, self.edge, EDGE)

    async def __aenter__(self) -> Server:
        await self.host.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.host.stop(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as started:
        yield started


@pytest.fixture
async def caller() -> AsyncIterator[RpcHost]:
    host = RpcHost()
    yield host
    await host.stop(0)


async def until(seconds: float, once: Any) -> int:
    """Does something again and again for a while; how often."""
    loop = asyncio.get_running_loop()
    end, count = loop.time() + seconds, 0
    while loop.time() < end:
        await once()
        count += 1
        await asyncio.sleep(0.001)
    return count


async def test_no_call_fails_while_connections_are_replaced(server: Server, caller: RpcHost) -> None:
    target = server.host.addresses[0]
    registrar = caller.channel(REGISTRAR, target)
    stub = registrar.stub(RegistrarStub)
    lookups = lookup_client(registrar, rotate_s=AGE_S / 2)
    deliveries = deliver_client(caller.channel(EDGE, target), rotate_s=AGE_S / 2, linger_s=AGE_S / 2)

    async def batched() -> None:
        assert (await lookups.call(lookup(), timeout=5)).now_ms == 1

    async def unary() -> None:
        await stub.ListEdges(pb.ListEdgesRequest())

    async def exchange() -> None:
        events = Events()
        item_id = deliveries.open(invite(), events)
        assert [(await events.next()).response.summary.status for _ in range(2)] == [100, 200]
        deliveries.close(item_id)

    try:
        counts = await asyncio.gather(*(until(LONG_S, once) for once in (batched, unary, exchange) for _ in range(4)))
        assert min(counts) > 20
        assert len(server.registrar.peers) >= 4
        assert len(server.edge.sessions) >= 4
        left = [session for session in server.edge.sessions if not session.closed.is_set()]
        assert len(left) <= 4, "streams that nobody uses end"
    finally:
        await lookups.stop()
        await deliveries.stop()


async def test_exchange_outlives_its_connection_and_can_be_cancelled_on_it(server: Server, caller: RpcHost) -> None:
    target = server.host.addresses[0]
    client = deliver_client(caller.channel(EDGE, target), rotate_s=0.01, linger_s=0.01)
    events = Events()
    item_id = client.open(invite(), events)
    await events.next()
    await events.next()
    first = server.edge.sessions[0]
    for _ in range(30):  # many further streams, on several connections
        other = Events()
        other_id = client.open(invite(), other)
        await other.next()
        await other.next()
        client.close(other_id)
        await asyncio.sleep(AGE_S / 10)
    assert len(server.edge.sessions) > 10
    assert not first.closed.is_set()
    client.send(Delivery(id=item_id, cancel_reason="SIP ;cause=200"))
    assert (await events.next()).ended
    kinds = [item.WhichOneof("kind") for item in first.items if item.id == item_id]
    assert kinds == ["request", "cancel_reason"]
    client.close(item_id)
    async with asyncio.timeout(10):
        await first.closed.wait()
    await client.stop()


async def test_added_server_gets_calls_and_a_removed_one_loses_none(caller: RpcHost) -> None:
    port = free_port()
    async with DnsServer("cluster.test", "registrar A 127.0.0.1\n") as names, Server(f"127.0.0.1:{port}") as one:
        target = f"dns://127.0.0.1:{names.port}/registrar.cluster.test:{port}"
        registrar = caller.channel(REGISTRAR, target)
        stub = registrar.stub(RegistrarStub)
        lookups = lookup_client(registrar, rotate_s=0.05)
        deliveries = deliver_client(caller.channel(EDGE, target), rotate_s=0.05, linger_s=0.05)
        two = Server(f"127.0.0.2:{port}", number=2)

        async def everything() -> None:
            await stub.ListEdges(pb.ListEdgesRequest())
            await lookups.call(lookup(), timeout=5)
            events = Events()
            item_id = deliveries.open(invite(), events)
            assert (await events.next()).response.summary.status == 100
            deliveries.close(item_id)

        async def second_has_all() -> bool:
            await everything()
            return bool(two.registrar.peers and two.registrar.batches and two.edge.sessions)

        try:
            await everything()
            async with two:
                names.replace("registrar A 127.0.0.1\nregistrar A 127.0.0.2\n")
                await eventually(second_has_all, timeout=30, what="the second server gets calls of each kind")
                assert one.registrar.batches
                names.replace("registrar A 127.0.0.1\n")
                await until(2.5, everything)
                count = len(two.registrar.batches)
                await until(0.5, everything)
                assert len(two.registrar.batches) == count
        finally:
            await lookups.stop()
            await deliveries.stop()


async def test_exchanges_leave_a_server_that_stops(caller: RpcHost) -> None:
    async with Server(age_s=60) as one, Server(number=2, age_s=60) as two:
        target = f"ipv4:{one.host.addresses[0]},{two.host.addresses[0]}"
        client = deliver_client(caller.channel(EDGE, target))
        events = Events()
        client.open(invite(), events)
        await events.next()
        await events.next()
        stops, stays = (one, two) if one.edge.sessions else (two, one)
        stopping = asyncio.create_task(stops.host.stop(5))

        async def goes_elsewhere() -> bool:
            other = Events()
            client.open(invite(), other)
            assert (await other.next()).response.summary.status == 100
            return bool(stays.edge.sessions)

        await eventually(goes_elsewhere, what="new exchanges go to the server that stays")
        assert events.nothing
        await client.stop()
        await stopping
