"""SIPE, a client of Office Communications Server, with Parley: what its users do, over TLS and TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.balancer import Balancer
from tests.support.parley_server import ParleyCluster, ParleyServer
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
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """Two front ends behind one port; every second client is at the other one."""
    cluster = ParleyCluster(tmp_path_factory.mktemp("cluster"), presences=2)
    with cluster.for_module(), Balancer([ports["tls"] for ports in cluster.ports]) as balancer:
        yield balancer


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in ("wrong-password", "search")])
def test_scenario_with_two_front_ends_behind_one_port(balanced: Balancer, scenario: str, tmp_path: Path) -> None:
    problem = run_scenario(scenario, f"127.0.0.1:{balanced.port}", "tls", tmp_path)
    if problem is not None:
        pytest.fail(f"{scenario} through a balancer: {problem}", pytrace=False)
