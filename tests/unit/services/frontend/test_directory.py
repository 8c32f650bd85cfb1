"""Where front ends are, while the registrar does not say."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import ListEdgesResponse
from parley.sip.nonce import issuer_id
from services.frontend import directory as module
from services.frontend.directory import BackendDirectory


class Registrar:
    """Tells one front end, or fails."""

    def __init__(self) -> None:
        self.error: RpcError | None = None
        self.asked = 0
        self.first_connection = 1
        self.gate = asyncio.Event()
        self.gate.set()

    async def ListEdges(self, request: object, *, timeout: float) -> ListEdgesResponse:
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        answer = ListEdgesResponse()
        answer.edges.add(edge_uid="one", address="192.0.2.1:1", first_connection=self.first_connection)
        return answer


class Site:
    """A directory with time of its own."""

    def __init__(self) -> None:
        self.registrar = Registrar()
        nothing = cast(Any, None)
        self.directory = BackendDirectory(nothing, cast(Any, self.registrar), nothing, nothing, timeout_s=3.0)
        self.now = 100.0
        self.directory._now = lambda: self.now


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.INTERNAL])
async def test_a_known_address_serves_while_the_registrar_does_not(code: StatusCode) -> None:
    site = Site()
    assert await site.directory.edge_address("one", 7) == "192.0.2.1:1"
    site.registrar.error = RpcError(code, "")
    site.now += module._EDGES_S
    for _ in range(3):
        assert await site.directory.edge_address("one", 7) == "192.0.2.1:1"
    assert site.registrar.asked == 2
    site.now += module._AGAIN_S
    assert await site.directory.edge_address("one", 7) == "192.0.2.1:1"
    assert site.registrar.asked == 3
    with pytest.raises(RpcError):
        await site.directory.edge_address("another", 7)


async def test_front_end_of_a_nonce_or_branch_is_found_by_what_stands_for_it() -> None:
    site = Site()
    assert await site.directory.address_of_issuer(issuer_id("one")) == "192.0.2.1:1"
    for guess in (b"", b"12345678"):
        assert await site.directory.address_of_issuer(guess) == ""
    assert site.registrar.asked == 1, "who guesses has the registrar asked a few times a second, no more"


async def test_nobody_waits_for_an_answer_that_another_waits_for_already() -> None:
    site = Site()
    await site.directory.edge_address("one", 7)
    site.now += module._EDGES_S
    site.registrar.gate.clear()
    first = asyncio.ensure_future(site.directory.edge_address("one", 7))
    await asyncio.sleep(0)
    assert await site.directory.edge_address("one", 7) == "192.0.2.1:1"
    site.registrar.gate.set()
    assert await first == "192.0.2.1:1"
    assert site.registrar.asked == 2


async def test_a_flow_that_ended_with_the_run_before_is_held_by_nobody() -> None:
    site = Site()
    assert await site.directory.edge_address("one", 7) == "192.0.2.1:1"
    site.registrar.first_connection = 8
    site.now += module._EDGES_S
    assert await site.directory.edge_address("one", 7) == ""
    assert await site.directory.edge_address("one", 8) == "192.0.2.1:1"
