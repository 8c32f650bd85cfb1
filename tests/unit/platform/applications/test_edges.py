"""Addresses of front ends: asked for when they are wanted, once for all who want them at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.applications.edges import EdgeAddresses
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2_grpc import add_RegistrarServicer_to_server


class Registrar:
    """Knows the front ends of a test; counts who asks."""

    def __init__(self) -> None:
        self.edges = {"edge-1": "127.0.0.1:1"}
        self.asked = 0
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def ListEdges(self, request: pb.ListEdgesRequest, context: Any) -> pb.ListEdgesResponse:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise RpcError(StatusCode.UNAVAILABLE, "the store is away")
        edges = [pb.ListEdgesResponse.Edge(edge_uid=uid, address=address) for uid, address in self.edges.items()]
        return pb.ListEdgesResponse(edges=edges)


@pytest.fixture
def registrar() -> Registrar:
    return Registrar()


@pytest.fixture
def addresses(registrar: Registrar) -> EdgeAddresses:
    rpc = RpcHost()
    rpc.add_service(add_RegistrarServicer_to_server, registrar, "parley.registrar.v1.Registrar")
    return EdgeAddresses(rpc)


async def test_many_who_ask_at_a_time_ask_once(registrar: Registrar, addresses: EdgeAddresses) -> None:
    registrar.answers.clear()
    asking = [asyncio.ensure_future(addresses.of("edge-1")) for _ in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    registrar.answers.set()
    assert await asyncio.gather(*asking[1:]) == ["127.0.0.1:1"] * 99
    assert await addresses.any() == "127.0.0.1:1"
    assert registrar.asked == 1


async def test_all_go_on_in_the_order_in_which_they_came(registrar: Registrar, addresses: EdgeAddresses) -> None:
    registrar.answers.clear()
    order: list[int] = []

    async def ask(number: int) -> None:
        await addresses.of("edge-1")
        order.append(number)

    asking = [asyncio.ensure_future(ask(number)) for number in range(3)]
    await asyncio.sleep(0)
    registrar.answers.set()
    number = 3
    while len(order) < 3:  # others come at every step until those have gone on
        asking.append(asyncio.ensure_future(ask(number)))
        number += 1
        await asyncio.sleep(0)
    await asyncio.gather(*asking)
    assert order == list(range(number))
    assert registrar.asked == 1


async def test_each_is_told_that_the_registrar_is_away(registrar: Registrar, addresses: EdgeAddresses) -> None:
    registrar.away = True
    failures = await asyncio.gather(*(addresses.of("edge-1") for _ in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [RpcError] * 3
    assert len(set(map(id, failures))) == 3
    registrar.away = False
    assert await addresses.of("edge-1") == "127.0.0.1:1"
    assert registrar.asked == 2


async def test_a_front_end_that_came_just_now_is_found_soon(
    registrar: Registrar, addresses: EdgeAddresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await addresses.of("edge-2") == ""
    registrar.edges["edge-2"] = "127.0.0.1:2"
    assert await addresses.of("edge-2") == ""
    await asyncio.sleep(0.01)
    monkeypatch.setattr(addresses, "_read_at", addresses._read_at - 0.5)
    assert await addresses.of("edge-2") == "127.0.0.1:2"
    assert registrar.asked == 2
