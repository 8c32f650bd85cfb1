"""The edge with several worker processes: clients spread on them, and what becomes of them when processes die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from parley.stun.addresses import Address
from parley.stun.probe import Probe, ProbeError
from tests.support.edge import PASSWORD, USER, EdgeNode, run_program
from tests.support.ports import free_port
from tests.support.waiting import eventually, until

CLIENTS = 24


@pytest.fixture(params=["native", "python"])
async def edge(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[EdgeNode]:
    """An edge on loopback with two workers."""
    async with two_workers(tmp_path, plane=request.param) as node:
        yield node


def two_workers(folder: Path, **avedge: Any) -> EdgeNode:
    if avedge.get("plane") == "native":
        pytest.importorskip("parley_relay")
    return EdgeNode(folder / "edge", workers=2, advertised={"self_test": False}, **avedge)


class Client:
    """A client that sends numbered packets by the relay to a peer that sends them back."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.relayed: Address | None = None
        self.sent: list[bytes] = []
        self.echoes: list[bytes] = []
        probe.on_data = self.echoes.append

    async def allocate(self, peer: Address) -> None:
        self.relayed = await self.probe.allocate(USER, PASSWORD)
        await self.probe.bind(peer)

    def send(self) -> None:
        self.sent.append(len(self.sent).to_bytes(4, "big"))
        self.probe.send(self.sent[-1])


class Echo(asyncio.DatagramProtocol):
    """A peer that sends everything back."""

    def __init__(self) -> None:
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


@pytest.fixture
async def echo() -> AsyncIterator[Address]:
    """Where the peer is."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    yield Address(*transport.get_extra_info("sockname"))
    transport.close()


async def clients_of(edge: EdgeNode, stack: AsyncExitStack, count: int = CLIENTS) -> list[Client]:
    server = Address("127.0.0.1", edge.udp)
    return [Client(await stack.enter_async_context(Probe.open(server))) for _ in range(count)]


def worker_pids(edge: EdgeNode) -> list[int]:
    """Its worker processes."""
    pids: list[int] = []
    for task in Path(f"/proc/{edge.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"services.avedge.worker_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                pids.append(int(pid))
    return pids


def runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def workers_by_relay(edge: EdgeNode) -> dict[str, int]:
    """Which worker has each allocation, by its relayed address."""
    done = await edge.parley("--json", "edge", "allocations")
    assert done.returncode == 0, done.stderr
    return {relay: item.get("worker", 0) for item in json.loads(done.stdout) for relay in item["relays"]}


async def talk(clients: list[Client], rounds: int) -> None:
    for _ in range(rounds):
        for client in clients:
            client.send()
        await asyncio.sleep(0.01)


async def test_a_worker_that_dies_takes_none_of_the_others_clients_along(edge: EdgeNode, echo: Address) -> None:
    async with AsyncExitStack() as stack:
        clients = await clients_of(edge, stack)
        await asyncio.gather(*(client.allocate(echo) for client in clients))
        holders = await workers_by_relay(edge)
        assert set(holders.values()) == {0, 1}
        assert len(holders) == CLIENTS

        talking = asyncio.create_task(talk(clients, 100))
        await asyncio.sleep(0.3)
        os.kill(worker_pids(edge)[0], signal.SIGKILL)
        await talking
        live = await workers_by_relay(edge)
        survivors = [client for client in clients if str(client.relayed) in live]
        left = {holders[str(client.relayed)] for client in survivors}
        lost = [client for client in clients if client not in survivors]
        assert left.isdisjoint(holders[str(client.relayed)] for client in lost)
        await until(lambda: all(client.echoes == client.sent for client in survivors))
        assert all(client.echoes != client.sent for client in lost)
        assert await edge.metric("parley_relay_allocations_closed_total", reason="worker-lost") == len(lost) > 0
        assert await edge.metric("parley_relay_allocations") == len(survivors)
        await lost_and_found(edge, 1)
        await asyncio.gather(*(client.allocate(echo) for client in lost))
        for client in clients:
            client.sent.clear()
            client.echoes.clear()
        await talk(clients, 20)
        await until(lambda: all(client.echoes == client.sent for client in clients))


async def lost_and_found(edge: EdgeNode, count: int) -> None:
    """Waits until so many workers have died, and others have taken their places."""

    async def look() -> bool:
        return (
            await edge.metric("parley_relay_workers_lost_total") == count and await edge.metric("parley_relay_workers") == 2
        )

    await eventually(look)


async def outcome(client: Client, echo: Address) -> str:
    """The code that an allocation is refused with; "" when it is granted, and given back."""
    try:
        await client.allocate(echo)
        await client.probe.release()
    except ProbeError as error:
        return str(error).removeprefix("the server refuses: ")[:3]
    return ""


async def test_a_drain_is_one_of_all_workers(tmp_path: Path, echo: Address) -> None:
    async with two_workers(tmp_path, drain_seconds=30) as edge, AsyncExitStack() as stack:
        late = await clients_of(edge, stack)
        held: list[Client] = []
        while set((await workers_by_relay(edge)).values()) != {0, 1}:  # the kernel spreads clients by chance
            more = await clients_of(edge, stack, 6)
            await asyncio.gather(*(client.allocate(echo) for client in more))
            held += more
        edge.signal(signal.SIGTERM)

        async def all_get(code: str) -> bool:
            return {await outcome(client, echo) for client in late[:8]} == {code}

        await eventually(lambda: all_get("508"))
        os.kill(worker_pids(edge)[0], signal.SIGKILL)
        await lost_and_found(edge, 1)
        assert {await outcome(client, echo) for client in late} == {"508"}

        edge.signal(signal.SIGUSR1)
        await eventually(lambda: all_get(""))
        edge.signal(signal.SIGTERM)
        await talk(held, 5)
        pids = worker_pids(edge)
        assert len(pids) == 2
        released = await asyncio.gather(*(client.probe.release() for client in held), return_exceptions=True)
        assert None in released, "nobody was left that the drain waited for"
        await until(lambda: edge.exit_code is not None, timeout=20)
        assert edge.exit_code == 0
        assert not any(map(runs, pids))


async def test_it_counts_as_one_has_its_ports_alone_and_ends_as_one(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as edge:
        for _ in range(50):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"\xff no message", ("127.0.0.1", edge.udp))

        async def is_counted() -> bool:
            return await edge.metric("parley_relay_dropped_total", cause="garbage") == 50

        await eventually(is_counted)
        ports = {"udp": edge.udp, "tcp": edge.tcp, "tls": -1, "dtls": -1}
        other = EdgeNode(tmp_path / "other", workers=2, ports=ports)
        with pytest.raises(AssertionError, match="another server may use the port"):
            async with other:
                pass
        pids = worker_pids(edge)
        assert len(pids) == 2
        assert all(map(runs, pids))
        edge.kill()
        await until(lambda: not any(map(runs, pids)))


@pytest.mark.turnutils
async def test_the_client_of_coturn_loses_nothing(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as edge:
        port = free_port()  # and the one after it, which is the peer's as well
        peer = await asyncio.create_subprocess_exec(
            "turnutils_peer", "-L", "127.0.0.1", "-p", str(port),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            done = await asyncio.gather(
                *(
                    run_program(
                        "turnutils_uclient", *options, "-s", "-c", "-e", "127.0.0.1", "-r", str(port), "-u", USER,
                        "-w", PASSWORD, "-n", "3", "-m", "2", "-l", "170", "127.0.0.1",
                    )
                    for options in (["-p", str(edge.udp)], ["-t", "-p", str(edge.tcp)])
                )
            )  # fmt: skip
            for code, output in done:
                assert code == 0, output
                assert "Total lost packets 0 " in output, output
        finally:
            peer.kill()
            await peer.wait()
        assert await edge.metric("parley_relay_allocations_opened_total", transport="udp") >= 2
        assert await edge.metric("parley_relay_allocations_opened_total", transport="tcp") >= 2
