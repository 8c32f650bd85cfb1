"""SIPE searches by the web query of the address book and gets pictures, with a web ticket that it gets for its password."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.curl import Curl
from tests.support.parley_server import DOMAIN, ParleyServer
from tests.support.sipe import run_scenario

pytestmark = [pytest.mark.sipe, pytest.mark.valkey]

SERVICE, FILES = "/GroupExpansion/int/service.asmx", "/ABS/int/Handler"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
ALICE = ("--user", "alice:Secret-1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config={"web": {"administrators": [f"alice@{DOMAIN}"]}})
    urls = {"dlxInternalUrl": running.web_url + SERVICE, "absInternalServerUrl": running.web_url + FILES}
    running.set("presence", {"settings": {"*": {"ServerConfiguration": urls}}})
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


def log_of(folder: Path, scenario: str = "search") -> str:
    return (folder / "logs" / f"{scenario}-alice.log").read_text(errors="replace")


def test_a_search_by_the_web_query(server: ParleyServer, tmp_path: Path) -> None:
    problem = run_scenario("search", f"127.0.0.1:{server.ports['tls']}", "tls", tmp_path)
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    log = log_of(tmp_path)
    assert "<SearchAbEntryResponse" in log
    assert "directorySearch" not in log  # which it falls back to when anything fails


async def with_picture(server: ParleyServer, user: str) -> str:
    """Gives a user one; where it is."""
    curl = Curl(server.web_url, server.ca_file)
    found = await curl(f"/api/v1/directory/search?q={user}", *ALICE)
    id = found.json["entries"][0]["id"]
    kind = ("--header", "Content-Type: image/png")
    answer = await curl(f"/api/v1/directory/entries/{id}/photo", *ALICE, *kind, method="PUT", body=PNG)
    assert answer.status == 200
    return f"{FILES}/photos/{id}.jpg"


def test_a_contact_has_a_picture(server: ParleyServer, tmp_path: Path) -> None:
    path = asyncio.run(with_picture(server, "bob"))
    problem = run_scenario("presence", f"127.0.0.1:{server.ports['tls']}", "tls", tmp_path)
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    log = log_of(tmp_path, "presence")
    asked = log.index(f"GET {path} HTTP/1.1")
    answered = log.index("HTTP/1.1 ", log.index("X-MS-WebTicket: opaque=", asked))
    assert log[answered:].startswith("HTTP/1.1 200 OK")
    assert "Content-Type: image/png" in log[answered : answered + 2_000]


def test_without_the_url_it_searches_by_sip(tmp_path: Path) -> None:
    running = ParleyServer(tmp_path / "parley")
    try:
        asyncio.run(running.start())
        problem = run_scenario("search", f"127.0.0.1:{running.ports['tls']}", "tls", tmp_path)
    finally:
        asyncio.run(running.stop())
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    log = log_of(tmp_path)
    assert "directorySearch" in log
    # Nothing is announced that the configuration does not name.
    for setting in ("dlxInternalUrl", "absInternalServerUrl", "updatesServerInternalUrl"):
        assert f"<{setting}>" not in log
