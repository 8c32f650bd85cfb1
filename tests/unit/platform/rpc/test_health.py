"""The health service on a port of its own, as probes of Kubernetes ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parley.platform.rpc.health import Health, HealthServer
from parley.proto.registrar.v1.registrar_pb2 import ListEdgesRequest
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
async def health() -> Health:
    made = Health()
    await made.set(ready=False, in_service=False)
    return made


@pytest.fixture
async def server(health: Health) -> AsyncIterator[HealthServer]:
    started = HealthServer(health, "127.0.0.1", 0)
    await started.start()
    yield started
    await started.stop()


async def serving(server: HealthServer) -> set[str]:
    """The names that are SERVING."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        names = ("startup", "liveness", "readiness", "")
        answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5) for name in names]
        return {name for name, answer in zip(names, answers, strict=True) if answer.status == SERVING}


async def test_names_through_the_life_of_a_process(health: Health, server: HealthServer) -> None:
    assert await serving(server) == {"liveness"}
    await health.set(ready=True, in_service=True, started=True)
    assert await serving(server) == {"liveness", "startup", "readiness", ""}
    await health.set(ready=False, in_service=True, started=True)  # it drains, and clients over UDP are not to be cut off
    assert await serving(server) == {"liveness", "startup", "readiness"}
    await health.set(ready=False, in_service=False)  # it stops
    assert await serving(server) == {"liveness", "startup"}


async def test_other_names_and_other_services_are_not_there(server: HealthServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="redis"), timeout=5)
        assert unknown.value.code() is StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as other:
            await RegistrarStub(channel).ListEdges(ListEdgesRequest(), timeout=5)
        assert other.value.code() is StatusCode.UNIMPLEMENTED


async def test_port_that_is_taken(health: Health, server: HealthServer) -> None:
    with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:\d+ for health; set platform\.health_port"):
        await HealthServer(health, "127.0.0.1", server.port).start()


async def test_address_of_ipv6(health: Health) -> None:
    server = HealthServer(health, "::1", 0)
    await server.start()
    assert server.port
    await server.stop()
