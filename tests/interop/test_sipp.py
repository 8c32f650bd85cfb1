"""SIPp against Parley: registration and calls with its own transactions and its own digest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.callee import Callee
from bench.sipp import run_sipp, write_users
from tests.support.parley_server import PASSWORD, ParleyServer, quiet_limits
from tests.support.ports import free_port

pytestmark = [pytest.mark.sipp, pytest.mark.valkey]

NAMES = [f"user{index}" for index in range(20)]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ParleyServer]:
    # SIPp 3.6 knows MD5 only.
    config = {"frontend": {"digest": {"algorithms": ["MD5"]}, "limits": quiet_limits()}}
    running = ParleyServer(tmp_path / "parley", config=config)
    await running.start()
    await running.create_users(NAMES)
    yield running
    await running.stop()


async def test_registrations_and_calls(server: ParleyServer, tmp_path: Path) -> None:
    users = write_users(tmp_path / "users.csv", NAMES, PASSWORD)
    address = f"127.0.0.1:{server.ports['udp']}"
    async with Callee(free_port()) as callee:
        registered = await run_sipp(
            "register.xml", address, users=users, rate=50, calls=100, port=free_port(), contact_port=callee.port
        )
        assert (registered.successful, registered.failed) == (100, 0), registered.complaint
        calls = await run_sipp("caller.xml", address, users=users, rate=20, calls=60, port=free_port())
        assert (calls.successful, calls.failed) == (60, 0), calls.complaint
    listing = await server.parley("--json", "registrations")
    assert listing.stdout.count('"aor"') == len(NAMES)
