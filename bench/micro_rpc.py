"""What a call between services costs: batched over a socket, batched within a process, and unary.

``python -m bench.micro_rpc`` prints CPU microseconds of the calling process for each call (the server is a process of its
own, and its CPU is shown beside it; within one process they are one number). Three loads: one caller that waits for each
answer, 64 and 512 callers at a time. Single runs differ by a factor of two on a shared machine: compare medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from parley.platform.rpc.batch import BatchClient, batch_handler
from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2_grpc import (
    RegistrarServicer,
    RegistrarStub,
    add_RegistrarServicer_to_server,
)

SERVICE = "parley.registrar.v1.Registrar"
CLIENT_TIMEOUT_S = 30.0

Call = Callable[[], Awaitable[Any]]


class Registrar(RegistrarServicer):
    """Answers without looking anything up, so that only the calls are measured."""

    def __init__(self) -> None:
        self.Lookup: Any = batch_handler(self.lookup, pb.LookupResponse)

    async def lookup(self, items: Sequence[pb.BindingLookup]) -> Sequence[pb.BindingLookupResult]:
        """One empty result for each item."""
        return [pb.BindingLookupResult(id=item.id) for item in items]

    async def KeepLease(self, request: pb.KeepLeaseRequest, context: Any) -> pb.KeepLeaseResponse:
        """The unary call to compare with."""
        return pb.KeepLeaseResponse()

    def Update(self, request_iterator: Any, context: Any) -> Any:
        """Not measured."""
        raise NotImplementedError

    def TakeOnce(self, request_iterator: Any, context: Any) -> Any:
        """Not measured."""
        raise NotImplementedError

    async def ListBindings(self, request: pb.ListBindingsRequest, context: Any) -> pb.ListBindingsResponse:
        """Not measured."""
        raise NotImplementedError

    async def ListEdges(self, request: pb.ListEdgesRequest, context: Any) -> pb.ListEdgesResponse:
        """Not measured."""
        raise NotImplementedError


def make_host(listen: Sequence[str]) -> RpcHost:
    """A process that serves it."""
    host = RpcHost(listen=listen)
    host.add_service(add_RegistrarServicer_to_server, Registrar(), SERVICE)
    return host


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one measurement."""

    client_us: float
    server_us: float
    per_second: float


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used, user and system."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(call: Call, *, calls: int, callers: int, server: int | None) -> Cost:
    """Makes the calls, so many at a time, after as many again at most to warm up."""

    async def run(count: int) -> None:
        async def caller(own: int) -> None:
            for _ in range(own):
                await call()

        await asyncio.gather(*(caller(count // callers) for _ in range(callers)))

    await run(max(callers, calls // 10))
    begun, cpu, server_cpu = time.perf_counter(), time.process_time(), cpu_of(server) if server else 0.0
    await run(calls)
    made = calls // callers * callers
    wall, used = time.perf_counter() - begun, time.process_time() - cpu
    served = cpu_of(server) - server_cpu if server else 0.0
    return Cost(used / made * 1e6, served / made * 1e6, made / wall)


def batched(client: BatchClient[pb.BindingLookup, pb.BindingLookupResult]) -> Call:
    """A call through a batch client."""
    return lambda: client.call(pb.BindingLookup(aor="sip:alice@example.test"), timeout=CLIENT_TIMEOUT_S)


def unary(stub: Any) -> Call:
    """A unary call."""
    return lambda: stub.KeepLease(pb.KeepLeaseRequest(edge_uid="edge", ttl_ms=1), timeout=CLIENT_TIMEOUT_S)


async def serve() -> None:
    """The other process: says its address, serves until standard input ends."""
    host = make_host(["127.0.0.1:0"])
    await host.start()
    print(host.addresses[0], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await host.stop(0)


@contextlib.asynccontextmanager
async def server_process() -> Any:
    """Another process that serves; gives its address and pid."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.micro_rpc", "--serve", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = (await process.stdout.readline()).decode().strip()
        yield address, process.pid
    finally:
        process.stdin.close()
        await process.wait()


async def bench(calls: int) -> None:
    """Prints the table."""

    def client_of(host: RpcHost, target: str | None) -> BatchClient[pb.BindingLookup, pb.BindingLookupResult]:
        return BatchClient(host.channel(SERVICE, target), f"/{SERVICE}/Lookup", pb.LookupRequest, pb.LookupResponse)

    here, caller = make_host([]), RpcHost()
    async with server_process() as (address, pid):
        local, remote = client_of(here, None), client_of(caller, address)
        ways: list[tuple[str, Call, int | None, int]] = [
            ("batch, same process", batched(local), None, calls * 4),
            ("unary, same process", unary(here.channel(SERVICE).stub(RegistrarStub)), None, calls),
            ("batch, socket", batched(remote), pid, calls * 2),
            ("unary, socket", unary(caller.channel(SERVICE, address).stub(RegistrarStub)), pid, calls // 4),
        ]
        print(f"{'':24}{'callers':>8}{'client us':>11}{'server us':>11}{'calls/s':>10}")
        for name, call, server, count in ways:
            for callers in (1, 64, 512):
                made = max(callers, count if callers > 1 else count // 8)
                cost = await measure(call, calls=made, callers=callers, server=server)
                served = f"{cost.server_us:11.1f}" if server else f"{'-':>11}"
                print(f"{name:24}{callers:8d}{cost.client_us:11.1f}{served}{cost.per_second:10.0f}")
        await local.stop()
        await remote.stop()
        await caller.stop(0)
    await here.stop(0)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="be the other process")
    parser.add_argument("--calls", type=int, default=20_000, help="how many calls one measurement makes, about")
    options = parser.parse_args()
    uvloop.run(serve() if options.serve else bench(options.calls))


if __name__ == "__main__":
    main()
