"""Tests that need a running Kubernetes cluster: ``make cluster-up``, then ``pytest tests/cluster``.

They are left out unless they are asked for by their path; once asked for, nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from tests.support.cluster import Cluster, CommandError
from tests.support.cluster_install import RESTRICTED, SMALL, Installation
from tests.support.cluster_people import MOST, People, places

HERE = Path(__file__).resolve().parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves these tests out of a run of all tests."""
    asked = (Path(config.invocation_params.dir, str(argument).split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(HERE) for path in asked) else True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts those last that empty a node: whatever came after them would first have all its pods spread out again."""
    items.sort(key=lambda item: item.get_closest_marker("empties_node") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failure what the cluster looked like right after it."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, Cluster):
        try:
            report.sections.append(("the cluster", cluster.state()))
        except (CommandError, AssertionError) as error:
            report.sections.append(("the cluster", f"it does not answer: {error}"))
    return report


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running cluster; a test fails without one, and says what to do."""
    return Cluster.running()


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Installation:
    """Parley as ``make cluster-install`` left it; a test fails without it, and says what to do."""
    return Installation.found(cluster)


@pytest.fixture(scope="session")
def small(installed: Installation) -> Iterator[Installation]:
    """The small profile in a namespace of its own, with the same images."""
    with installed.cluster.namespace("parley-small", **RESTRICTED) as namespace:
        made = Installation(namespace, image_tag=installed.tag())
        made.install(*SMALL)
        made.sound()
        yield made
        made.helm("uninstall", made.release, "--wait", "--timeout=90s")


@pytest.fixture(scope="session")
def addresses(cluster: Cluster) -> Iterator[list[str]]:
    """Addresses of this machine that phones call from."""
    with places(cluster) as made:
        yield made


@pytest.fixture(scope="session")
def names(installed: Installation) -> Iterator[str]:
    """Users, each for one test."""
    run = token_hex(3)
    made = [f"u{run}x{number}" for number in range(MOST)]
    installed.make_users(made)
    return iter(made)


@pytest.fixture
def parley(installed: Installation) -> Installation:
    """The installation, once it is as it was made."""
    installed.sound()
    return installed


@pytest.fixture
def people(parley: Installation, addresses: list[str], names: Iterator[str]) -> People:
    """Makes phones, and keeps their books."""
    return People(parley, addresses, names)
