"""Which calls are lost: those that their front end does not know, or whose front end is gone for good."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.applications.edges import EdgeAddresses
from parley.platform.clock import FakeClock
from parley.platform.rpc.channels import Channel
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.presence.v1 import state_pb2 as state
from parley.proto.sip.v1 import edge_pb2 as pb
from parley.proto.sip.v1.edge_pb2_grpc import add_EdgeServicer_to_server
from services.presence.calls import CallCheck


class Edge:
    """A front end with calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.asked = 0
        self.away = False

    async def ListCalls(self, request: pb.ListCallsRequest, context: Any) -> pb.ListCallsResponse:
        self.asked += 1
        if self.away:
            raise RpcError(StatusCode.UNAVAILABLE, "away")
        return pb.ListCallsResponse(calls=[pb.Call(call_id=call_id) for call_id in self.calls])


class Addresses(EdgeAddresses):
    """Leases of a test."""

    def __init__(self) -> None:
        self.leases = {"e": "local:e"}

    async def of(self, edge_uid: str) -> str:
        return self.leases.get(edge_uid, "")


class Host(RpcHost):
    """Notes which channels it made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Channel] = []
        self.closed: list[Channel] = []

    def channel(self, service: str, target: str | None = None) -> Channel:
        channel = super().channel(service, target)
        close = channel.close

        async def closing() -> None:
            self.closed.append(channel)
            await close()

        channel.close = closing  # type: ignore[method-assign]
        self.made.append(channel)
        return channel


class Rig:
    """The check and what it asks."""

    def __init__(self) -> None:
        self.edge, self.addresses, self.clock = Edge(), Addresses(), FakeClock()
        rpc = self.rpc = Host()
        rpc.add_service(add_EdgeServicer_to_server, self.edge, "parley.sip.v1.Edge")
        self.check = CallCheck(rpc, self.addresses, self.clock)

    async def lost(self, *call_ids: str, edge: str = "e") -> set[str]:
        return await self.check.lost([state.Call(call_id=call_id, edge_uid=edge) for call_id in call_ids])


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_what_the_front_end_carries_is_not_lost(rig: Rig) -> None:
    rig.edge.calls = ["a", "b"]
    assert await rig.lost("a", "b", "c") == {"c"}
    assert await rig.lost("a") == set()
    assert rig.edge.asked == 1
    rig.edge.calls = ["a"]
    rig.clock.advance(6)
    assert await rig.lost("a", "b") == {"b"}
    assert rig.edge.asked == 2


async def test_a_front_end_that_cannot_be_asked_may_still_carry_them(rig: Rig) -> None:
    rig.edge.away = True
    assert await rig.lost("a") == set()
    rig.edge.away = False
    assert await rig.lost("a") == {"a"}


async def test_a_front_end_without_a_lease_is_waited_for(rig: Rig) -> None:
    rig.addresses.leases.clear()
    assert await rig.lost("a") == set()
    rig.clock.advance(9)
    assert await rig.lost("a") == set()
    rig.clock.advance(1)
    assert await rig.lost("a") == {"a"}
    rig.addresses.leases["e"] = "local:e"
    rig.edge.calls = ["a"]
    assert await rig.lost("a") == set()
    rig.addresses.leases.clear()
    rig.clock.advance(6)
    assert await rig.lost("a") == set()


async def test_a_front_end_is_asked_over_one_channel_that_is_closed_when_it_is_not_used_any_more(rig: Rig) -> None:
    rig.addresses.leases["f"] = "local:f"
    for _ in range(3):
        await rig.lost("a")
        rig.clock.advance(6)
    assert len(rig.rpc.made) == 1
    await rig.lost("b", edge="f")
    for _ in range(6):
        rig.clock.advance(100)
        await rig.lost("b", edge="f")
    assert len(rig.rpc.made) == 2
    assert rig.rpc.closed == rig.rpc.made[:1]
    rig.edge.calls = ["a"]
    assert await rig.lost("a") == set()
    assert len(rig.rpc.made) == 3
