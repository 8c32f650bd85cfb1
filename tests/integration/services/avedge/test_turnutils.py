"""coturn's own client against the edge: every transport, both families, channels and indications, no packet lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.edge import PASSWORD, USER, EdgeNode, run_program
from tests.support.ports import free_port

pytestmark = pytest.mark.turnutils


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[EdgeNode]:
    """An edge on loopback, over both families."""
    async with EdgeNode(tmp_path / "edge", listen=["127.0.0.1", "::1"], advertised={"self_test": False}) as node:
        yield node


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a peer that sends everything back, over both families."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "turnutils_peer", "-L", "127.0.0.1", "-L", "::1", "-p", str(port),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    yield port
    process.kill()
    await process.wait()


async def relayed(edge: EdgeNode, echo: int, *options: str, host: str = "127.0.0.1") -> None:
    """Two clients with ten packets each, all of which come back; over channels unless ``-s`` asks for indications."""
    code, output = await run_program(
        "turnutils_uclient", *options, "-c", "-e", host, "-r", str(echo), "-u", USER, "-w", PASSWORD, "-n", "10",
        "-m", "2", "-l", "170", host,
    )  # fmt: skip
    assert code == 0, output
    assert "Total lost packets 0 " in output, output
    found = re.search(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n(?!.*tot_send_msgs)", output, re.DOTALL)
    assert found is not None
    assert found[1] == found[2] == "20"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("sending", [(), ("-s",)], ids=["channels", "indications"])
async def test_over_every_transport(edge: EdgeNode, echo: int, sending: tuple[str, ...], host: str) -> None:
    options = (*sending, "-x") if host == "::1" else sending
    await asyncio.gather(
        relayed(edge, echo, *options, "-p", str(edge.udp), host=host),
        relayed(edge, echo, *options, "-t", "-p", str(edge.tcp), host=host),
        relayed(edge, echo, *options, "-t", "-S", "-p", str(edge.tls), host=host),
        relayed(edge, echo, *options, "-S", "-p", str(edge.tls), host=host),
    )
    for transport in ("udp", "tcp", "tls", "dtls"):
        assert await edge.metric("parley_relay_allocations_opened_total", transport=transport) >= 2, transport
    family = "ipv6" if host == "::1" else "ipv4"
    assert await edge.metric("parley_relay_allocations_opened_total", family=family) >= 8
    assert await edge.metric("parley_relay_packets_total", direction="dropped") == 0


async def test_tls_and_dtls_come_to_the_plain_ports_too(edge: EdgeNode, echo: int) -> None:
    await asyncio.gather(
        relayed(edge, echo, "-t", "-S", "-p", str(edge.tcp)),
        relayed(edge, echo, "-S", "-p", str(edge.udp)),
        relayed(edge, echo, "-t", "-p", str(edge.tls)),
    )


async def test_a_wrong_password_gets_nothing(edge: EdgeNode, echo: int) -> None:
    code, output = await run_program(
        "turnutils_uclient", "-s", "-c", "-e", "127.0.0.1", "-r", str(echo), "-u", USER, "-w", "wrong", "-n", "1",
        "-p", str(edge.udp), "127.0.0.1",
    )  # fmt: skip
    assert code != 0, output
    assert await edge.metric("parley_relay_allocations_opened_total") == 0
    assert PASSWORD not in edge.log()
    assert "Cannot complete Allocation" in output


async def test_the_stun_client_learns_its_address(edge: EdgeNode) -> None:
    code, output = await run_program("turnutils_stunclient", "-p", str(edge.udp), "127.0.0.1")
    assert code == 0
    assert re.search(r"UDP reflexive addr: 127\.0\.0\.1:\d+", output), output


async def over_tcp(edge: EdgeNode, *options: str, port: int) -> None:
    """Two clients whose TCP relays connect to one another; all messages come through."""
    code, output = await run_program(
        "turnutils_uclient", "-T", *options, "-u", USER, "-w", PASSWORD, "-n", "10", "-m", "2", "-l", "170", "-p", str(port),
        "127.0.0.1",
    )  # fmt: skip
    assert code == 0, output
    found = re.search(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n(?!.*tot_send_msgs)", output, re.DOTALL)
    assert found is not None, output
    assert found[1] == found[2] == "20"
    assert "Total lost packets 0 " in output, output


async def test_tcp_is_relayed(edge: EdgeNode) -> None:
    await asyncio.gather(over_tcp(edge, port=edge.tcp), over_tcp(edge, "-S", port=edge.tls))


@pytest.fixture
async def discovering(tmp_path: Path) -> AsyncIterator[EdgeNode]:
    """An edge with two addresses and two ports for NAT behaviour discovery."""
    hosts = ["127.0.0.1", "127.0.0.2"]
    advertised = {"self_test": False}
    async with EdgeNode(tmp_path / "edge", listen=hosts, advertised=advertised, discovery={"hosts": hosts}) as node:
        yield node


async def test_nat_behaviour_is_discovered(discovering: EdgeNode) -> None:
    code, output = await run_program("turnutils_natdiscovery", "-m", "-f", "-p", str(discovering.udp), "127.0.0.1")
    assert code == 0, output
    assert "NAT with Endpoint Independent Mapping!" in output, output
    assert "NAT with Endpoint Independent Filtering!" in output, output


async def test_the_stun_client_is_answered_from_elsewhere(discovering: EdgeNode) -> None:
    code, output = await run_program("turnutils_stunclient", "-f", "-p", str(discovering.udp), "127.0.0.1")
    assert code == 0, output
    origins = re.findall(r"RFC 5780 response (\d)\n0: : IPv4\. Response origin: : (\S+)", output)
    own, other = f"127.0.0.1:{discovering.udp}", f"127.0.0.2:{discovering.alternate}"
    assert origins == [("1", own), ("2", other), ("3", other)], output
    assert f"Other addr: : {other}" in output
