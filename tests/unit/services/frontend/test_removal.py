"""Bindings of closed connections, while the registrar is away."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import BindingUpdate, BindingUpdateResult
from services.frontend import removal
from services.frontend.removal import BindingRemoval
from tests.support.waiting import until


class Registrar:
    """Fails so many times, by its stream or by the status of the item."""

    def __init__(self, failures: int, *, by_status: bool = False) -> None:
        self.failures = failures
        self.by_status = by_status
        self.items: list[BindingUpdate] = []

    def submit(self, item: BindingUpdate, *, timeout: float) -> asyncio.Future[BindingUpdateResult]:
        self.items.append(item)
        future: asyncio.Future[BindingUpdateResult] = asyncio.get_running_loop().create_future()
        result = BindingUpdateResult()
        if len(self.items) <= self.failures:
            if not self.by_status:
                future.set_exception(RpcError(StatusCode.UNAVAILABLE, "away"))
                return future
            result.status.code = StatusCode.UNAVAILABLE.value[0]
        future.set_result(result)
        return future


@pytest.mark.parametrize("by_status", [False, True])
async def test_the_registrar_is_asked_again_until_it_is_done(by_status: bool) -> None:
    registrar = Registrar(3, by_status=by_status)
    BindingRemoval(registrar, timeout_s=1, pause_s=0).begin("sip:a@example.test", "edge", 7)
    await until(lambda: len(registrar.items) == 4)
    await asyncio.sleep(0.05)
    assert len(registrar.items) == 4
    assert len({id(item) for item in registrar.items}) == 4
    told = {
        (each.aor, each.flow_closed, each.common.flow.edge_uid, each.common.flow.connection_id) for each in registrar.items
    }
    assert told == {("sip:a@example.test", True, "edge", 7)}


async def test_it_is_given_up_at_last() -> None:
    registrar = Registrar(1_000)
    BindingRemoval(registrar, timeout_s=1, pause_s=0).begin("sip:a@example.test", "edge", 7)
    await until(lambda: len(registrar.items) == removal._MOST_TRIES)
    await asyncio.sleep(0.05)
    assert len(registrar.items) == removal._MOST_TRIES
