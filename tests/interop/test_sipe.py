"""SIPE, a client of Office Communications Server, with Parley: what its users do, over TLS and TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

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
