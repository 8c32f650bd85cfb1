"""Fixtures for the tests of the chart, which run nothing but programs that read."""

from __future__ import annotations

import pytest

from tests.chart.rendering import VALUES, Rendered, rendered


@pytest.fixture(autouse=True)
def _garbage_is_found_where_it_is_made() -> None:
    """Nothing is opened here, and thousands of objects that were rendered would be looked through for each test."""


@pytest.fixture(params=VALUES, scope="session")
def values(request: pytest.FixtureRequest) -> str:
    """Each values file by name."""
    name: str = request.param
    return name


@pytest.fixture
def release(values: str) -> Rendered:
    """The release with each values file."""
    return rendered(values)
