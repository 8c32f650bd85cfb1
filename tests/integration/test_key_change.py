"""A new master key: users keep their passwords, before and after the old key is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.parley_server import ParleyServer
from tests.support.sip_client import SipClient

pytestmark = pytest.mark.valkey

OLD, NEW = "ab" * 32, "cd" * 32


async def sign_in_with(folder: Path, master_key: str, previous: str = "") -> tuple[int, str]:
    """Starts a server on what is in the folder; status of alice's REGISTER, and the log."""
    book = {"previous_master_key": previous} if previous else {}
    platform = {"metrics_port": 0, "log": {"format": "json"}, "master_key": master_key}
    server = ParleyServer(folder, config={"platform": platform, "addressbook": book})
    await server.start()
    try:
        alice = await SipClient("alice").connect(server.ports["udp"])
        status = (await alice.register()).status
    finally:
        await server.stop()
    return status, server.log()


async def test_passwords_outlive_the_master_key(tmp_path: Path) -> None:
    assert (await sign_in_with(tmp_path, OLD))[0] == 200
    status, log = await sign_in_with(tmp_path, NEW, previous=OLD)
    assert status == 200
    assert "credentials of 3 users were sealed anew" in log
    assert (await sign_in_with(tmp_path, NEW))[0] == 200


async def test_key_that_is_neither_the_present_nor_the_previous_one_signs_nobody_in(tmp_path: Path) -> None:
    assert (await sign_in_with(tmp_path, OLD))[0] == 200
    assert (await sign_in_with(tmp_path, NEW))[0] != 200
