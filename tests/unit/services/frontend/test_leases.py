"""The metric that says whether a front end holds its lease."""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import Any, cast

from grpc import StatusCode
from prometheus_client import REGISTRY

from parley.platform.rpc.errors import RpcError
from services.frontend.leases import LeaseKeeper
from tests.support.waiting import until


class Registrar:
    """Takes renewals, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0

    async def KeepLease(self, request: object, *, timeout: float) -> None:
        self.asked += 1
        if self.away:
            raise RpcError(StatusCode.UNAVAILABLE, "away")


async def test_a_lease_that_is_not_renewed_in_time_is_not_held() -> None:
    registrar, edge = Registrar(), token_hex(4)
    keeper = LeaseKeeper(cast(Any, registrar), edge, "127.0.0.1:1", 0.3, first_connection=1)

    def held() -> float | None:
        return REGISTRY.get_sample_value("parley_frontend_lease_held", {"edge": edge})

    task = asyncio.ensure_future(keeper.run())
    try:
        await until(lambda: held() == 1)
        registrar.away, asked = True, registrar.asked
        await until(lambda: registrar.asked > asked)
        assert held() == 1, "one renewal that fails is no loss"
        await until(lambda: held() == 0)
        registrar.away = False
        await until(lambda: held() == 1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
