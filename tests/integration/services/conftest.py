"""Fixtures of the services' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from parley.platform.clock import FakeClock
from parley.platform.store.client import Store
from tests.integration.services.rig import Registrar, store_of
from tests.support.valkey import Valkey


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    """The store of a process."""
    async with store_of(valkey.url) as made:
        yield made


@pytest.fixture
def registrar(store: Store, clock: FakeClock) -> Registrar:
    """A registrar with its defaults."""
    return Registrar(store, clock)
