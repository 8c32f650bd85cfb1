"""What may be used once, on a real store."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode

from parley.platform.clock import FakeClock
from parley.proto.registrar.v1 import registrar_pb2 as pb
from tests.integration.services.rig import Registrar, store_of
from tests.support.ports import free_port
from tests.support.valkey import Valkey, ValkeyCluster

pytestmark = pytest.mark.valkey


def use(number: int, *, ttl_ms: int = 60_000, size: int = 32) -> pb.OnceItem:
    """The use of something."""
    return pb.OnceItem(id=number, digest=bytes([number % 10]) * size, ttl_ms=ttl_ms)


async def taken(registrar: Registrar, *items: pb.OnceItem) -> dict[int, bool]:
    """Whether each was the first use, by id."""
    results = await registrar.surface.take_once(items)
    assert not any(result.status.code for result in results)
    return {result.id: result.first for result in results}


async def test_each_is_taken_once_by_whoever_comes_first(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        one, two = Registrar(left, clock), Registrar(right, clock)
        assert await taken(one, use(1), use(2)) == {1: True, 2: True}
        assert await taken(two, use(1), use(3), use(13)) == {1: False, 3: True, 13: False}
        many = await asyncio.gather(*[taken(registrar, use(4)) for registrar in (one, two) for _ in range(20)])
        assert sum(result[4] for result in many) == 1


async def test_it_is_forgotten_after_its_time(registrar: Registrar) -> None:
    assert await taken(registrar, use(1, ttl_ms=200)) == {1: True}
    assert await taken(registrar, use(1, ttl_ms=200)) == {1: False}
    await asyncio.sleep(0.25)
    assert await taken(registrar, use(1)) == {1: True}


async def test_looking_notes_nothing(registrar: Registrar) -> None:
    look = pb.OnceItem(id=1, digest=use(1).digest, look=True)
    assert [await taken(registrar, look) for _ in range(2)] == [{1: True}] * 2
    assert await taken(registrar, use(1), use(2)) == {1: True, 2: True}
    assert await taken(registrar, look, pb.OnceItem(id=3, digest=use(3).digest, look=True)) == {1: False, 3: True}


async def test_it_works_on_a_cluster(valkey_cluster: ValkeyCluster, clock: FakeClock) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        registrar = Registrar(store, clock)
        items = [use(number) for number in range(10)]
        assert await taken(registrar, *items) == dict.fromkeys(range(10), True)
        assert await taken(registrar, *items) == dict.fromkeys(range(10), False)


@pytest.mark.parametrize(
    "item",
    [
        use(1, size=31), use(1, size=0), use(1, ttl_ms=0), use(1, ttl_ms=86_400_001),
        pb.OnceItem(id=1, digest=bytes(31), look=True),
    ],
)  # fmt: skip
async def test_what_cannot_be_taken_is_refused_and_the_rest_is_not(registrar: Registrar, item: pb.OnceItem) -> None:
    results = {result.id: result for result in await registrar.surface.take_once([item, use(2)])}
    assert results[1].status.code == StatusCode.INVALID_ARGUMENT.value[0]
    assert not results[1].first
    assert results[2].first


async def test_without_a_store_nothing_is_taken(clock: FakeClock) -> None:
    async with store_of(f"redis://127.0.0.1:{free_port()}/0") as store:
        (result,) = await Registrar(store, clock).surface.take_once([use(1)])
        assert result.status.code == StatusCode.UNAVAILABLE.value[0]
        assert not result.first
