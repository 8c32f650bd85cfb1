"""Exchanges with several events, within a process and over a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.sip.v1.edge_pb2 import Delivery, DeliveryEvent
from parley.proto.sip.v1.message_pb2 import SipMessage
from tests.unit.platform.rpc.conftest import Way
from tests.unit.platform.rpc.servers import EDGE, Peer, caller_var, deliver_client


class Events:
    """What an exchange was told."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self.callers: list[str] = []

    def __call__(self, event: DeliveryEvent | RpcError) -> None:
        self.callers.append(caller_var.get())
        self._queue.put_nowait(event)

    async def next(self) -> Any:
        async with asyncio.timeout(10):
            return await self._queue.get()

    @property
    def nothing(self) -> bool:
        return self._queue.empty()


def invite() -> Delivery:
    return Delivery(request=SipMessage(raw=b"INVITE"))


async def test_several_events_for_one_item(way: Way) -> None:
    events = Events()
    item_id = way.deliveries.open(invite(), events)
    statuses = [(await events.next()) for _ in range(2)]
    assert [(event.id, event.response.summary.status) for event in statuses] == [(item_id, 100), (item_id, 200)]


async def test_exchanges_share_a_session(way: Way) -> None:
    everything = [Events() for _ in range(600)]
    ids = [way.deliveries.open(invite(), events) for events in everything]
    for item_id, events in zip(ids, everything, strict=True):
        assert (await events.next()).id == item_id
    assert len(way.peer.edge.sessions) == 1
    assert len(way.peer.edge.sessions[0].items) == 600


async def test_further_item_of_an_exchange(way: Way) -> None:
    events = Events()
    item_id = way.deliveries.open(invite(), events)
    await events.next()
    way.deliveries.send(Delivery(id=item_id, cancel_reason="SIP ;cause=200"))
    assert (await events.next()).response.summary.status == 200
    assert (await events.next()).ended


async def test_closed_exchange_is_told_nothing(way: Way) -> None:
    closed, open_ = Events(), Events()
    item_id = way.deliveries.open(invite(), closed)
    way.deliveries.close(item_id)
    way.deliveries.send(Delivery(id=item_id, cancel_reason="late"))
    way.deliveries.open(invite(), open_)
    await open_.next()
    assert closed.nothing
    kinds = [item.WhichOneof("kind") for item in way.peer.edge.sessions[0].items]
    assert kinds == ["request", "request"]


async def test_item_that_fails_does_not_end_the_others(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Events(), Events()
    way.deliveries.open(Delivery(cancel_reason="boom"), bad)
    way.deliveries.open(invite(), good)
    assert (await good.next()).response.summary.status == 100
    assert "an item of Exchanges failed" in caplog.text


async def test_handler_that_fails_does_not_end_the_others(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    def bad(event: DeliveryEvent | RpcError) -> None:
        raise KeyError("boom")

    good = Events()
    way.deliveries.open(invite(), bad)
    way.deliveries.open(invite(), good)
    await good.next()
    assert "was not handled" in caplog.text


async def test_server_learns_that_the_stream_ended(way: Way) -> None:
    events = Events()
    way.deliveries.open(invite(), events)
    await events.next()
    await way.deliveries.stop()
    async with asyncio.timeout(10):
        await way.peer.edge.sessions[0].closed.wait()


async def test_events_after_the_end_go_nowhere(way: Way) -> None:
    events = Events()
    way.deliveries.open(invite(), events)
    await events.next()
    await events.next()
    await way.deliveries.stop()
    session = way.peer.edge.sessions[0]
    await session.closed.wait()
    assert session.send is not None
    session.send(DeliveryEvent(id=1, ended=True))
    assert events.nothing


async def test_too_many_open(way: Way) -> None:
    client = deliver_client(way.edge, max_open=1)
    first, second = Events(), Events()
    client.open(invite(), first)
    client.open(invite(), second)
    assert second.nothing
    error = await second.next()
    assert isinstance(error, RpcError)
    assert error.code is StatusCode.RESOURCE_EXHAUSTED
    await first.next()
    await client.stop()


async def test_context_of_a_caller_stays_with_it(way: Way) -> None:
    events = Events()
    caller_var.set("alice")
    way.deliveries.open(invite(), events)
    await events.next()
    await events.next()
    assert events.callers == ["nobody", "nobody"]


async def test_every_exchange_is_told_when_the_peer_dies(peer: Peer, caller: RpcHost) -> None:
    client = deliver_client(caller.channel(EDGE, peer.target))
    everything = [Events(), Events()]
    for events in everything:
        client.open(invite(), events)
        await events.next()
        await events.next()
    await peer.host.stop(0)
    errors = [await events.next() for events in everything]
    assert [error.code for error in errors] == [StatusCode.UNAVAILABLE] * 2
    assert errors[0] is not errors[1]
    async with asyncio.timeout(10):
        await peer.edge.sessions[0].closed.wait()
    late = Events()
    client.open(invite(), late)
    assert (await late.next()).code is StatusCode.UNAVAILABLE
    await client.stop()


async def test_peer_without_an_address(caller: RpcHost) -> None:
    client = deliver_client(caller.channel(EDGE))
    events = Events()
    client.open(invite(), events)
    error = await events.next()
    assert error.code is StatusCode.UNAVAILABLE
    assert "platform.rpc.targets.sip" in error.message
    await client.stop()
