"""SIPE signs in with a certificate that it gets from Parley for its password (TLS-DSK)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.web.routes import CERTIFICATES
from tests.interop.sipe.harness import Client, build
from tests.support.balancer import Balancer
from tests.support.parley_server import DOMAIN, ParleyCluster, ParleyServer
from tests.support.ports import free_port
from tests.support.sipe import run_scenario

pytestmark = [pytest.mark.sipe, pytest.mark.valkey]

SCHEMES = ["TLS-DSK", "NTLM"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(tmp_path_factory.mktemp("parley"))
    running.offer_certificates(SCHEMES)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.mark.parametrize("authentication", ["tls-dsk", "auto"])
@pytest.mark.parametrize("scenario", ["sign-in", "presence", "im"])
def test_scenario(server: ParleyServer, scenario: str, authentication: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{server.ports['tls']}"
    problem = run_scenario(scenario, address, "tls", tmp_path, ["--authentication", authentication])
    if problem is not None:
        pytest.fail(f"{scenario} with {authentication}: {problem}", pytrace=False)
    log = (tmp_path / "logs" / f"{scenario}-alice.log").read_text(errors="replace")
    assert "Authentication-Info: TLS-DSK rspauth=" in log
    assert "NTLM rspauth=" not in log


def test_two_front_ends_and_a_web_service_in_processes_of_their_own(tmp_path: Path) -> None:
    cluster = ParleyCluster(tmp_path / "cluster", presences=1, webs=1)
    cluster.offer_certificates(SCHEMES)
    with cluster.for_module(), Balancer([ports["tls"] for ports in cluster.ports]) as balancer:
        options = ["--authentication", "tls-dsk"]
        problem = run_scenario("presence", f"127.0.0.1:{balancer.port}", "tls", tmp_path, options)
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    for user in ("alice", "bob"):
        log = (tmp_path / "logs" / f"presence-{user}.log").read_text(errors="replace")
        assert "Authentication-Info: TLS-DSK rspauth=" in log


def test_wrong_password_gets_no_certificate(server: ParleyServer, tmp_path: Path) -> None:
    address = f"127.0.0.1:{server.ports['tls']}"
    problem = run_scenario("wrong-password", address, "tls", tmp_path, ["--authentication", "tls-dsk"])
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    log = (tmp_path / "logs" / "wrong-password-alice.log").read_text(errors="replace")
    assert "HTTP/1.1 401" in log
    assert "GetAndPublishCert " not in log


def test_withdrawal_signs_the_client_out_and_the_password_in_again(server: ParleyServer, tmp_path: Path) -> None:
    build()
    where = {"server": f"127.0.0.1:{server.ports['tls']}", "transport": "tls", "authentication": "tls-dsk"}
    with Client("carol", **where, log=tmp_path / "carol.log") as carol:
        carol.expect("signed-on")
        asyncio.run(server.parley("user", "withdraw", f"carol@{DOMAIN}"))
        carol.expect("connection-error")
        carol.expect("signed-off")
    with Client("carol", **where, log=tmp_path / "again.log") as carol:
        carol.expect("signed-on")
        listed = json.loads(asyncio.run(server.parley("--json", "user", "certificates", f"carol@{DOMAIN}")).stdout)
        assert len(listed) == 1


def test_without_the_web_service_certificates_are_given_up_and_the_user_told(tmp_path: Path) -> None:
    server = ParleyServer(tmp_path / "parley")
    server.web_url = f"https://127.0.0.1:{free_port()}"
    server.offer_certificates(SCHEMES)
    build()
    try:
        asyncio.run(server.start())
        address = f"127.0.0.1:{server.ports['tls']}"
        with Client("alice", server=address, transport="tls", authentication="tls-dsk", log=tmp_path / "log") as alice:
            error = alice.expect("connection-error")
    finally:
        asyncio.run(server.stop())
    assert re.search("Web ticket request to https://.* failed", error["text"])
    assert CERTIFICATES in error["text"]
