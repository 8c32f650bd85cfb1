"""SIPE, a client of Office Communications Server, with Parley: what its users do, over TLS and TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.platform.host import SOCKET
from parley.platform.rpc.host import RpcHost
from parley.proto.avedge.v1.relay_pb2 import AllocationState, ListAllocationsRequest
from parley.proto.avedge.v1.relay_pb2_grpc import RelayStub
from tests.support.balancer import Balancer
from tests.support.kdc import SERVER_NAME, SERVICE, Kdc
from tests.support.parley_server import DOMAIN, ParleyCluster, ParleyServer
from tests.support.sipe import run_scenario

pytestmark = [pytest.mark.sipe, pytest.mark.valkey]

SCENARIOS: tuple[str, ...] = (
    "sign-in",
    "wrong-password",
    "contacts",
    "presence",
    "im",
    "im-offline",
    "typing",
    "search",
    "call",
    "call-rejected",
    "group-im",
    "two-clients",
)
"""Those of ``sipe/acceptance.py --list`` that Parley is to pass."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(tmp_path_factory.mktemp("parley"))
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.mark.parametrize("transport", ["tls", "tcp"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(server: ParleyServer, scenario: str, transport: str, tmp_path: Path) -> None:
    problem = run_scenario(scenario, f"127.0.0.1:{server.ports[transport]}", transport, tmp_path)
    if problem is not None:
        pytest.fail(f"{scenario} over {transport}: {problem}", pytrace=False)


async def relayed(server: ParleyServer) -> list[AllocationState]:
    """The allocations of clients of MS-TURN that have moved packets both ways; those on UDP outlive their clients."""
    rpc = RpcHost(targets={"avedge": f"unix:{server.folder / SOCKET}"})
    try:
        relay = rpc.channel("parley.avedge.v1.Relay").stub(RelayStub)
        answer = await relay.ListAllocations(ListAllocationsRequest(), timeout=10)
    finally:
        await rpc.stop()
    return [
        state for state in answer.allocations
        if state.dialect == "ms-turn" and state.traffic.sent_packets and state.traffic.received_packets
    ]  # fmt: skip


def test_a_call_through_the_relay_alone(server: ParleyServer, tmp_path: Path) -> None:
    """Neither client shows the other an address but that of its relay, for which it has asked credentials at sign-in."""
    address, before = f"127.0.0.1:{server.ports['tls']}", asyncio.run(relayed(server))
    problem = run_scenario("call", address, "tls", tmp_path, env={"SIPE_FORCE_RELAY": "1"})
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    for user in ("alice", "bob"):
        log = (tmp_path / "logs" / f"call-{user}.log").read_text(errors="replace")
        offered = [line for line in log.splitlines() if line.startswith("a=candidate:")]
        assert offered
        assert all(" typ relay " in line for line in offered)
    known = {state.number for state in before}
    legs = [state for state in asyncio.run(relayed(server)) if state.number not in known]
    assert len({state.username for state in legs}) == 2
    assert sum(state.traffic.sent_packets > 20 for state in legs) >= 2  # voice of either side, besides its control
    assert all(state.transport == "udp" for state in legs)


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    with Kdc(tmp_path_factory.mktemp("kdc")) as running:
        yield running


@pytest.fixture(scope="module")
def with_kerberos(kdc: Kdc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    """A server that offers Kerberos, and NTLM after it."""
    communicator = {
        "server_name": SERVER_NAME, "schemes": {DOMAIN: ["Kerberos", "NTLM"]},
        "kerberos": {"keytab": str(kdc.keytab(SERVICE))},
    }  # fmt: skip
    running = ParleyServer(tmp_path_factory.mktemp("kerberos"), config={"frontend": {"communicator": communicator}})
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.mark.kerberos
@pytest.mark.parametrize(
    ("scenario", "authentication", "scheme"),
    [
        ("sign-in", "krb5", "Kerberos"),
        ("presence", "krb5", "Kerberos"),
        ("im", "krb5", "Kerberos"),
        ("sign-in", "auto", "Kerberos"),
        ("sign-in", "ntlm", "NTLM"),
    ],
)
def test_scenario_where_kerberos_is_offered(
    kdc: Kdc, with_kerberos: ParleyServer, scenario: str, authentication: str, scheme: str, tmp_path: Path
) -> None:
    options, env = ["--authentication", authentication, "--netbios", ""], {"SIPE_KRB5_CONFIG": str(kdc.config)}
    address = f"127.0.0.1:{with_kerberos.ports['tls']}"
    problem = run_scenario(scenario, address, "tls", tmp_path, options, env)
    if problem is not None:
        pytest.fail(f"{scenario} with {authentication}: {problem}", pytrace=False)
    log = (tmp_path / "logs" / f"{scenario}-alice.log").read_text(errors="replace")
    assert f"Authentication-Info: {scheme} rspauth=" in log


@pytest.mark.kerberos
def test_without_a_ticket_it_takes_ntlm(with_kerberos: ParleyServer, tmp_path: Path) -> None:
    problem = run_scenario(
        "sign-in", f"127.0.0.1:{with_kerberos.ports['tls']}", "tls", tmp_path, ["--authentication", "auto"]
    )
    assert problem is None, problem
    assert "Authentication-Info: NTLM rspauth=" in (tmp_path / "logs" / "sign-in-alice.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """Two front ends behind one port; every second client is at the other one."""
    cluster = ParleyCluster(tmp_path_factory.mktemp("cluster"), presences=2, conferences=2, messagings=1)
    with cluster.for_module(), Balancer([ports["tls"] for ports in cluster.ports]) as balancer:
        yield balancer


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_with_two_front_ends_behind_one_port(balanced: Balancer, scenario: str, tmp_path: Path) -> None:
    problem = run_scenario(scenario, f"127.0.0.1:{balanced.port}", "tls", tmp_path)
    if problem is not None:
        pytest.fail(f"{scenario} through a balancer: {problem}", pytrace=False)
