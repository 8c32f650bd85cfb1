"""Peers that die, come back, stop, say nothing, or are several."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.platform.rpc.streams import Backoff
from parley.proto.registrar.v1.registrar_pb2 import ListEdgesRequest
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from tests.unit.platform.rpc.servers import REGISTRAR, LookupClient, Peer, lookup, lookup_client, start_peer


async def code_of(client: LookupClient, timeout: float = 30) -> StatusCode:
    """Status of one call."""
    try:
        await client.call(lookup(), timeout=timeout)
    except RpcError as error:
        return error.code
    return StatusCode.OK


@asynccontextmanager
async def two_peers() -> AsyncIterator[tuple[Peer, Peer, str]]:
    """Two replicas, and the target that names both."""
    first, second = await start_peer(number=1), await start_peer(number=2)
    yield first, second, f"ipv4:{first.target},{second.target}"
    for peer in (first, second):
        peer.registrar.gate.set()
        await peer.host.stop(0)


async def test_what_is_in_flight_fails_at_once_when_the_peer_dies(peer: Peer, caller: RpcHost) -> None:
    client = lookup_client(caller.channel(REGISTRAR, peer.target))
    peer.registrar.gate.clear()
    futures = [client.submit(lookup(), timeout=60) for _ in range(3)]
    await peer.registrar.arrived.wait()
    async with asyncio.timeout(20):
        await peer.host.stop(0)
        results = await asyncio.gather(*futures, return_exceptions=True)
    errors = [result for result in results if isinstance(result, RpcError)]
    assert [error.code for error in errors] == [StatusCode.UNAVAILABLE] * 3
    assert len({id(error) for error in errors}) == 3
    await client.stop()


async def test_peer_that_is_away_and_comes_back(peer: Peer, caller: RpcHost) -> None:
    client = lookup_client(caller.channel(REGISTRAR, peer.target))
    assert await code_of(client) is StatusCode.OK
    port = peer.port
    await peer.host.stop(0)
    async with asyncio.timeout(20):
        assert [await code_of(client) for _ in range(50)] == [StatusCode.UNAVAILABLE] * 50
        again = await start_peer(port=port, number=2)
        while await code_of(client) is not StatusCode.OK:
            await asyncio.sleep(0.02)
    assert again.registrar.batches
    await client.stop()
    await again.host.stop(0)


async def test_unary_call_to_a_peer_that_is_away(peer: Peer, caller: RpcHost) -> None:
    stub = caller.channel(REGISTRAR, peer.target).stub(RegistrarStub)
    await peer.host.stop(0)
    async with asyncio.timeout(20):
        with pytest.raises(RpcError) as caught:
            await stub.ListEdges(ListEdgesRequest(), timeout=30)
    assert caught.value.code is StatusCode.UNAVAILABLE


async def test_peer_that_takes_the_connection_and_says_nothing(caller: RpcHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = lookup_client(caller.channel(REGISTRAR, f"127.0.0.1:{silent.getsockname()[1]}"))
        async with asyncio.timeout(20):
            assert await code_of(client) is StatusCode.UNAVAILABLE
        await client.stop()


async def test_peer_that_does_not_serve_it(caller: RpcHost) -> None:
    other = RpcHost(listen=["127.0.0.1:0"])
    await other.start()
    client = lookup_client(caller.channel(REGISTRAR, other.addresses[0]))
    assert await code_of(client) is StatusCode.UNIMPLEMENTED
    await client.stop()
    await other.stop(0)


async def test_no_address(caller: RpcHost) -> None:
    channel = caller.channel(REGISTRAR)
    client = lookup_client(channel)
    with pytest.raises(RpcError, match=r"set platform\.rpc\.targets\.registrar"):
        await client.call(lookup(), timeout=30)
    with pytest.raises(RpcError, match=r"set platform\.rpc\.targets\.registrar"):
        await channel.stub(RegistrarStub).ListEdges(ListEdgesRequest())


async def test_configured_address(peer: Peer) -> None:
    host = RpcHost(targets={"registrar": peer.target})
    client = lookup_client(host.channel(REGISTRAR))
    assert await code_of(client) is StatusCode.OK
    await client.stop()
    await host.stop()


async def test_peer_that_stops_answers_what_it_has_and_loses_nothing(caller: RpcHost) -> None:
    async with two_peers() as (first, second, target):
        client = lookup_client(caller.channel(REGISTRAR, target))
        number = (await client.call(lookup(), timeout=30)).now_ms
        leaving, staying = (first, second) if number == 1 else (second, first)
        leaving.registrar.gate.clear()
        leaving.registrar.arrived.clear()
        staying.registrar.gate.clear()
        staying.registrar.arrived.clear()
        before = client.submit(lookup(), timeout=30)
        await leaving.registrar.arrived.wait()
        stopping = asyncio.create_task(leaving.host.stop(30))
        others: list[asyncio.Future[object]] = []
        async with asyncio.timeout(20):
            while not staying.registrar.arrived.is_set():
                others.append(client.submit(lookup(), timeout=30))  # type: ignore[arg-type]
                await asyncio.sleep(0.01)
            leaving.registrar.gate.set()
            staying.registrar.gate.set()
            assert (await before).now_ms == leaving.registrar.number
            results = await asyncio.gather(*others)
            assert {result.status.code for result in results} == {0}  # type: ignore[attr-defined]
            await stopping
        assert (await client.call(lookup(), timeout=30)).now_ms == staying.registrar.number
        await client.stop()


async def test_load_spreads_over_servers_as_streams_are_replaced(caller: RpcHost) -> None:
    async with two_peers() as (first, second, target):
        client = lookup_client(caller.channel(REGISTRAR, target), rotate_s=0)
        async with asyncio.timeout(20):
            while not (first.registrar.batches and second.registrar.batches):
                assert await code_of(client) is StatusCode.OK
        await client.stop()


async def test_one_stream_is_kept_while_it_is_young(caller: RpcHost) -> None:
    async with two_peers() as (first, second, target):
        client = lookup_client(caller.channel(REGISTRAR, target))
        for _ in range(20):
            assert await code_of(client) is StatusCode.OK
        assert sorted([len(first.registrar.batches), len(second.registrar.batches)]) == [0, 20]
        await client.stop()


def test_backoff() -> None:
    backoff = Backoff()
    error = RpcError(StatusCode.UNAVAILABLE, "refused")
    assert backoff.refusal(0.0) is None
    assert backoff.failed(error, 0.0)
    assert backoff.refusal(0.0) is None, "the first failure is followed by a try at once"
    assert not backoff.failed(error, 0.0)
    refusal = backoff.refusal(0.01)
    assert refusal is not None
    assert refusal is not error
    assert (refusal.code, refusal.message) == (error.code, error.message)
    for _ in range(20):
        backoff.failed(error, 100.0)
    assert backoff.refusal(100.3) is not None
    assert backoff.refusal(100.5) is None
    backoff.succeeded()
    assert backoff.refusal(100.3) is None
