"""Batched calls, within a process and over a socket."""

from __future__ import annotations

import asyncio
import logging

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.sip.v1.message_pb2 import ItemStatus
from tests.unit.platform.rpc.conftest import Way
from tests.unit.platform.rpc.servers import caller_var, lookup, lookup_client


async def failure_of(future: asyncio.Future[pb.BindingLookupResult]) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await future
    return caught.value


async def test_result_of_an_item(way: Way) -> None:
    result = await way.lookups.call(lookup("sip:bob@example.test"), timeout=5)
    assert [binding.contact for binding in result.bindings] == ["sip:bob@example.test"]
    assert way.peer.registrar.batches == [1]


async def test_results_are_matched_by_id(way: Way) -> None:
    aors = [f"sip:user{number}@example.test" for number in range(1000)]
    results = await asyncio.gather(*(way.lookups.call(lookup(aor), timeout=20) for aor in aors))
    assert [result.bindings[0].contact for result in results] == aors
    assert sum(way.peer.registrar.batches) == 1000
    assert max(way.peer.registrar.batches) == 256


async def test_what_comes_in_one_turn_leaves_together(way: Way) -> None:
    await asyncio.gather(*(way.lookups.submit(lookup(), timeout=5) for _ in range(20)))
    assert way.peer.registrar.batches == [20]


async def test_batches_are_served_side_by_side(way: Way) -> None:
    registrar = way.peer.registrar
    registrar.gate.clear()
    first = way.lookups.submit(lookup(), timeout=5)
    await registrar.arrived.wait()
    registrar.arrived.clear()
    second = way.lookups.submit(lookup(), timeout=5)
    await registrar.arrived.wait()
    assert registrar.batches == [1, 1]
    registrar.gate.set()
    await asyncio.gather(first, second)


async def test_failure_of_the_function_has_its_status(way: Way) -> None:
    way.peer.registrar.failure = RpcError(StatusCode.UNAVAILABLE, "the store is away")
    with pytest.raises(RpcError, match="UNAVAILABLE: the store is away"):
        await way.lookups.call(lookup(), timeout=5)


async def test_defect_of_the_function_is_internal_and_logged(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    way.peer.registrar.failure = KeyError("secret")
    with pytest.raises(RpcError) as caught:
        await way.lookups.call(lookup(), timeout=5)
    assert (caught.value.code, caught.value.message) == (StatusCode.INTERNAL, "internal error")
    assert "lookup failed" in caplog.text


async def test_status_of_one_item(way: Way) -> None:
    def answer(items: list[pb.BindingLookup]) -> list[pb.BindingLookupResult]:
        status = ItemStatus(code=StatusCode.NOT_FOUND.value[0], message="no such user")
        return [pb.BindingLookupResult(id=item.id, status=status if index else None) for index, item in enumerate(items)]

    way.peer.registrar.answer = answer  # type: ignore[assignment]
    good, bad = await asyncio.gather(
        way.lookups.call(lookup(), timeout=5), way.lookups.call(lookup(), timeout=5), return_exceptions=True
    )
    assert isinstance(good, pb.BindingLookupResult)
    assert isinstance(bad, RpcError)
    assert (bad.code, bad.message) == (StatusCode.NOT_FOUND, "no such user")


async def test_item_without_a_result_fails_at_once(way: Way) -> None:
    way.peer.registrar.answer = lambda items: [pb.BindingLookupResult(id=item.id) for item in items[1:]]
    first, second = (way.lookups.submit(lookup(), timeout=30) for _ in range(2))
    async with asyncio.timeout(10):
        assert (await first).status.code == StatusCode.INTERNAL.value[0]
        assert (await second).status.code == 0


async def test_deadline(way: Way) -> None:
    way.peer.registrar.gate.clear()
    error = await failure_of(way.lookups.submit(lookup(), timeout=0.01))
    assert error.code is StatusCode.DEADLINE_EXCEEDED


async def test_short_deadline_after_a_long_one(way: Way) -> None:
    way.peer.registrar.gate.clear()
    long = way.lookups.submit(lookup(), timeout=60)
    await way.peer.registrar.arrived.wait()
    async with asyncio.timeout(20):
        error = await failure_of(way.lookups.submit(lookup(), timeout=0.01))
    assert error.code is StatusCode.DEADLINE_EXCEEDED
    assert not long.done()
    way.peer.registrar.gate.set()
    await long


async def test_late_result_is_dropped(way: Way) -> None:
    registrar = way.peer.registrar
    registrar.gate.clear()
    await failure_of(way.lookups.submit(lookup(), timeout=0.01))
    registrar.gate.set()
    assert (await way.lookups.call(lookup(), timeout=5)).now_ms == 1


async def test_caller_that_gave_up(way: Way) -> None:
    registrar = way.peer.registrar
    registrar.gate.clear()
    call = asyncio.create_task(way.lookups.call(lookup(), timeout=5))
    await registrar.arrived.wait()
    call.cancel()
    await asyncio.wait([call])
    registrar.gate.set()
    assert (await way.lookups.call(lookup(), timeout=5)).now_ms == 1


async def test_too_many_in_flight(way: Way) -> None:
    client = lookup_client(way.registrar, max_in_flight=2)
    way.peer.registrar.gate.clear()
    taken = [client.submit(lookup(), timeout=5) for _ in range(2)]
    error = await failure_of(client.submit(lookup(), timeout=5))
    assert error.code is StatusCode.RESOURCE_EXHAUSTED
    way.peer.registrar.gate.set()
    await asyncio.gather(*taken)
    assert (await client.call(lookup(), timeout=5)).now_ms == 1
    await client.stop()


async def test_stop_fails_what_is_in_flight(way: Way) -> None:
    way.peer.registrar.gate.clear()
    futures = [way.lookups.submit(lookup(), timeout=5) for _ in range(2)]
    await way.peer.registrar.arrived.wait()
    waiting = way.lookups.submit(lookup(), timeout=5)
    await way.lookups.stop()
    errors = [await failure_of(future) for future in (*futures, waiting)]
    assert {error.code for error in errors} == {StatusCode.CANCELLED}
    assert len({id(error) for error in errors}) == 3


async def test_context_of_a_caller_does_not_reach_the_server(way: Way) -> None:
    caller_var.set("alice")
    await way.lookups.call(lookup(), timeout=5)
    await way.lookups.call(lookup(), timeout=5)
    assert way.peer.registrar.callers == ["nobody", "nobody"]


async def test_log_is_quiet_when_all_is_well(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="parley.platform.rpc"):
        await way.lookups.call(lookup(), timeout=5)
        await way.lookups.stop()
    assert not [record for record in caplog.records if record.name.startswith("parley.platform.rpc")]
