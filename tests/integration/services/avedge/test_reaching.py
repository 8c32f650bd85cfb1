"""By which address the edge is known, what it says when that does not lead to it, and where it sends clients in a drain."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from parley.mras.tokens import Tokens
from parley.platform.keys import parse_master_key
from parley.stun.addresses import Address
from parley.stun.codes import Attribute
from parley.stun.message import Message
from parley.stun.ms.client import Carriage, Failed
from parley.stun.ms.codes import MsErrorCode
from parley.stun.probe import Probe, ProbeError
from services.avedge.config import AdvertisedConfig
from services.avedge.issuing import mras_key
from services.avedge.reaching import advertised_hosts
from tests.support.edge import PASSWORD, USER, EdgeNode
from tests.support.ms_turn import MsEndpoint
from tests.support.ports import free_port

pytestmark = pytest.mark.valkey


async def relay_host(edge: EdgeNode) -> str:
    """The address of a relay as a client is told it."""
    async with Probe.open(Address("127.0.0.1", edge.udp)) as probe:
        relayed = await probe.allocate(USER, PASSWORD)
        await probe.release()
        return relayed.host


async def test_a_file_that_is_written_late_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "load-balancer"
    advertised = {"hosts_file": str(path), "node_addresses": "203.0.113.7", "self_test": False}
    edge = EdgeNode(tmp_path / "edge", advertised=advertised)
    edge.launch()
    starting = asyncio.create_task(edge.start_up())
    try:
        async with asyncio.timeout(20):
            while f"waiting for an address in {path}" not in edge.log():
                await asyncio.sleep(0.05)
            path.write_text("balancer.example.test\n")  # no address yet
            await asyncio.sleep(0.5)
            assert not starting.done()
            path.write_text("203.0.113.5\n")
            await starting
        assert await relay_host(edge) == "203.0.113.5"
        assert "known as 203.0.113.5 (file)" in edge.log()
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await edge.stop()


async def test_a_file_that_never_comes_leaves_the_next_rung(tmp_path: Path) -> None:
    config = AdvertisedConfig(hosts_file=tmp_path / "none", wait_seconds=0.1, node_addresses="node-1, 10.0.0.5, 8.8.4.4")
    assert await advertised_hosts(config, ["10.1.1.1", "fd00::1"]) == ({"10.1.1.1": "8.8.4.4", "fd00::1": "fd00::1"}, "node")
    config = AdvertisedConfig(hosts=["203.0.113.1"], hosts_file=tmp_path / "none", node_addresses="8.8.4.4")
    assert await advertised_hosts(config, ["10.1.1.1"]) == ({"10.1.1.1": "203.0.113.1"}, "configured")


async def test_a_stun_server_tells_how_it_sees_the_edge(tmp_path: Path) -> None:
    class Server(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            seen = Address("203.0.113.9", 4000)
            transport.sendto(bytes(Message.parse(data).success().add_xor_address(Attribute.XOR_MAPPED_ADDRESS, seen)), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        dead, alive = f"127.0.0.1:{free_port()}", f"localhost:{transport.get_extra_info('sockname')[1]}"
        found = await advertised_hosts(AdvertisedConfig(stun_servers=["nonsense", dead, alive]), ["127.0.0.1"])
        assert found == ({"127.0.0.1": "203.0.113.9"}, "stun")
        assert await advertised_hosts(AdvertisedConfig(stun_servers=[dead]), ["127.0.0.1"]) == (
            {"127.0.0.1": "127.0.0.1"}, "bound",
        )  # fmt: skip
    finally:
        transport.close()


async def test_another_edge_tells_how_it_sees_this_one(tmp_path: Path) -> None:
    async with EdgeNode(tmp_path / "other") as other:
        advertised = {"stun_servers": [f"127.0.0.1:{other.udp}"]}
        async with EdgeNode(tmp_path / "edge", advertised=advertised) as edge:
            assert "known as 127.0.0.1 (stun)" in edge.log()


async def test_an_address_that_does_not_lead_to_the_edge_is_told_of(tmp_path: Path) -> None:
    async with EdgeNode(tmp_path / "edge", advertised={"hosts": ["127.0.0.3"]}) as edge:
        warning = "clients may not reach the edge by 127.0.0.3"
        async with asyncio.timeout(10):
            while warning not in edge.log():
                await asyncio.sleep(0.05)
        assert 'parley_relay_self_test{host="127.0.0.3"} 0.0' in await edge.metrics()
        done = await edge.parley("--json", "edge", "test", "--packets", "1")
        assert done.returncode == 1
        trials = {trial["transport"]: trial for trial in json.loads(done.stdout)}
        assert trials["self-test"]["server"] == "127.0.0.3"
        assert "Connection refused" in trials["self-test"]["problem"]
        assert all("refused" in trials[name]["problem"] for name in ("udp", "tcp", "tls"))


async def test_a_drain_sends_clients_to_another_edge(tmp_path: Path) -> None:
    async with EdgeNode(tmp_path / "edge", drain_seconds=30, alternate=["127.0.0.2"]) as edge:
        ports = {"udp": edge.udp, "tcp": edge.tcp, "tls": edge.tls, "dtls": edge.tls}
        here, there = (Address(host, edge.udp) for host in ("127.0.0.1", "127.0.0.2"))
        token = Tokens([mras_key(parse_master_key((edge.folder / "master.key").read_text()))]).issue(
            "sip:alice@example.test", time.time() + 600
        )
        async with (
            EdgeNode(tmp_path / "other", listen=["127.0.0.2"], ports=ports),
            Probe.open(here) as staying,
            Probe.open(there) as moved,
            MsEndpoint(here, token.username, token.password, Carriage.DATAGRAMS) as communicator,
        ):
            await staying.allocate(USER, PASSWORD)
            edge.signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                while "draining" not in edge.log().lower():
                    await asyncio.sleep(0.05)
            async with Probe.open(here) as late:
                with pytest.raises(ProbeError, match=f"300 use 127.0.0.2:{edge.udp}"):
                    await late.allocate(USER, PASSWORD)
            assert (await moved.allocate(USER, PASSWORD)).host == "127.0.0.2"
            assert await communicator.ask() == Failed(MsErrorCode.TRY_ALTERNATE, True, there)
            await staying.release()
