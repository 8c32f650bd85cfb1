"""Fixtures for all tests: real servers, started once for a run, and what happens when one cannot be had."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from tests.support.jaeger import Jaeger, jaeger_missing
from tests.support.kafka import Kafka, kafka_missing
from tests.support.parley_server import PASSWORD, ParleyServer
from tests.support.valkey import Valkey


def _require(problem: str | None) -> None:
    """Skips a test whose tool is missing; with CI=true that is a failure."""
    if problem is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{problem}, and with CI=true nothing may be skipped", pytrace=False)
    pytest.skip(problem)


@pytest.fixture(autouse=True)
def _needed_tools(request: pytest.FixtureRequest) -> None:
    """Looks at the markers of a test before it runs."""
    from tests.support.baresip import baresip_missing
    from tests.support.programs import program_missing

    if request.node.get_closest_marker("baresip"):
        _require(baresip_missing())
    if request.node.get_closest_marker("sipp"):
        _require(program_missing("sipp"))
    if request.node.get_closest_marker("browser"):
        _require(program_missing("chromium"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(("PARLEY_", "OTEL_")) and name != "PARLEY_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
async def _clients_are_closed() -> AsyncIterator[None]:
    """Closes what a test left open."""
    from tests.support.sip_client import OPEN

    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey with AOF."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """The Valkey of the run, emptied."""
    valkey_server.flush()
    return valkey_server


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A Kafka broker."""
    _require(kafka_missing())
    with Kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger that takes OTLP."""
    _require(jaeger_missing())
    with Jaeger(tmp_path_factory.mktemp("jaeger")) as server:
        yield server


@pytest.fixture
async def parley_server(tmp_path: Path) -> AsyncIterator[ParleyServer]:
    """Parley as ``parley run`` starts it, with the demo users."""
    server = ParleyServer(tmp_path / "parley")
    await server.start()
    yield server
    await server.stop()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Tests that start servers and phones run after the quick ones, whatever the random order."""
    items.sort(key=lambda item: 0 if "/unit/" in str(item.path) else 1)


__all__ = ["PASSWORD"]
