"""Fixtures for all tests: real servers, started once for a run, and what happens when one cannot be had."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from tests.support.jaeger import Jaeger, jaeger_missing
from tests.support.kafka import Kafka, kafka_missing
from tests.support.parley_server import PASSWORD, ParleyServer
from tests.support.valkey import Valkey, ValkeyCluster, ValkeySentinel

if "CI" not in os.environ:  # where it is set, Hypothesis does the same by itself: a busy machine is no failure
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")

LEFT_BY_AIOKAFKA = ("Unclosed AIOKafkaConnection", "unclosed transport", "unclosed <socket", "loop is closed")
"""It leaves connections of a broker that was ended to the garbage collector."""


def _require(problem: str | None) -> None:
    """Skips a test whose tool is missing."""
    if problem is not None:
        pytest.skip(problem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a skipped test is a failed one, whoever skipped it."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {reason.removeprefix('Skipped: ')}, and with CI=true nothing may be skipped"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} is skipped, and with CI=true nothing may be skipped"
    return report


@pytest.fixture(autouse=True)
def _garbage_is_found_where_it_is_made(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test left open is told of in that test. The first fixture, so that it is the last one to end."""
    yield
    if "/unit/" not in str(request.node.path):
        gc.collect()


@pytest.fixture(autouse=True)
def _needed_tools(request: pytest.FixtureRequest) -> None:
    """Looks at the markers of a test before it runs."""
    from tests.support.baresip import baresip_missing
    from tests.support.kdc import kerberos_missing
    from tests.support.network import network_missing
    from tests.support.programs import program_missing
    from tests.support.sipe import sipe_missing

    if request.node.get_closest_marker("baresip"):
        _require(baresip_missing())
    if request.node.get_closest_marker("sipp"):
        _require(program_missing("sipp"))
    if request.node.get_closest_marker("turnutils"):
        _require(program_missing("turnutils_uclient"))
    if request.node.get_closest_marker("browser"):
        _require(program_missing("chromium"))
    if request.node.get_closest_marker("sipe"):
        _require(sipe_missing())
    if request.node.get_closest_marker("network"):
        _require(network_missing())
    if request.node.get_closest_marker("kerberos"):
        _require(kerberos_missing())


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(("PARLEY_", "OTEL_")) and name != "PARLEY_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
async def _clients_are_closed(_garbage_is_found_where_it_is_made: None) -> AsyncIterator[None]:
    """Closes what a test left open."""
    from tests.support.sip_client import OPEN

    yield
    while OPEN:
        await OPEN.pop().abort()


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


@pytest.fixture
def valkey_sentinel(tmp_path: Path) -> Iterator[ValkeySentinel]:
    """A master, a replica and a Sentinel, for one test: a fail-over cannot be undone."""
    with ValkeySentinel(tmp_path / "sentinel") as servers:
        yield servers


@pytest.fixture(scope="session")
def valkey_cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """Three masters that share the slots."""
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def valkey_cluster(valkey_cluster_servers: ValkeyCluster) -> ValkeyCluster:
    """The cluster of the run, emptied."""
    valkey_cluster_servers.flush()
    return valkey_cluster_servers


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
    for item in items:
        if item.get_closest_marker("kafka") or "kafka" in item.fixturenames:
            for message in LEFT_BY_AIOKAFKA:
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{message}:ResourceWarning"))


__all__ = ["PASSWORD"]
