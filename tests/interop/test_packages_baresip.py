"""Event packages that baresip asks for: waiting messages, and presence of its contacts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.support.baresip import Account, Phone
from tests.support.parley_server import ParleyServer
from tests.support.sipe import run_scenario
from tests.support.waiting import eventually

pytestmark = [pytest.mark.baresip, pytest.mark.valkey]


def phone_of(server: ParleyServer, user: str, folder: Path, modules: tuple[str, ...], contact: str = "") -> Phone:
    """A phone with modules."""
    account = Account(user, server.password, "example.test", server.uri("tls"))
    return Phone(folder / user, account, ca_file=server.ca_file, modules=modules, contact=contact)


async def test_it_is_told_that_no_message_waits(parley_server: ParleyServer, tmp_path: Path) -> None:
    async with phone_of(parley_server, "alice", tmp_path, ("mwi",)) as alice:
        await alice.wait_registered()

        async def told() -> bool:
            notify = alice.log().partition("NOTIFY sip:")[2]
            return "Messages-Waiting: no" in notify and "Voice-Message: 0/0" in notify and "SIP/2.0 200 OK" in notify

        await eventually(told, what="a NOTIFY that it answers with 200")
        assert "mwi: subscription" not in alice.log()


async def test_it_shows_a_contact_that_comes_and_goes(parley_server: ParleyServer, tmp_path: Path) -> None:
    async with phone_of(parley_server, "alice", tmp_path, ("presence",), "sip:bob@example.test") as alice:
        await alice.wait_registered()

        async def shows(status: str) -> bool:
            alice.command("contacts")
            return any(re.search(rf"{status}\S* .*bob@example.test", text) for text in alice.said)

        async with phone_of(parley_server, "bob", tmp_path, ()) as bob:
            await bob.wait_registered()
            await eventually(lambda: shows("Online"), what="Bob is online")
            alice.said.clear()
        await eventually(lambda: shows("Offline"), what="Bob is offline")


@pytest.mark.sipe
async def test_it_and_sipe_see_each_other(parley_server: ParleyServer, tmp_path: Path) -> None:
    async with phone_of(parley_server, "bob", tmp_path, ("presence",), "sip:alice@example.test") as bob:
        await bob.wait_registered()
        server = f"127.0.0.1:{parley_server.ports['tls']}"
        sipe = asyncio.create_task(asyncio.to_thread(run_scenario, "presence-phone", server, "tls", tmp_path))

        async def shows_busy() -> bool:
            bob.command("contacts")
            return any(re.search(r"Busy\S* .*alice@example.test", text) for text in bob.said) or sipe.done()

        await eventually(shows_busy, timeout=60, what="Alice is busy")
        assert not sipe.done()
    assert await sipe is None
