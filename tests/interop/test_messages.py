"""Messages between SIPE, which has sessions, and baresip, which has single messages, each as its users see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.baresip import Account, Phone
from tests.support.parley_server import ParleyServer
from tests.support.sipe import run_scenario
from tests.support.waiting import eventually

pytestmark = [pytest.mark.sipe, pytest.mark.baresip, pytest.mark.valkey]

ALICE = "sip:alice@example.test"


@asynccontextmanager
async def phone_of_bob(server: ParleyServer, folder: Path) -> AsyncIterator[Phone]:
    account = Account("bob", server.password, "example.test", server.uri("tls"), True, "")
    async with Phone(folder / "bob", account, ca_file=server.ca_file, contact=ALICE) as bob:
        await bob.wait_registered()
        yield bob


def shown(phone: Phone) -> list[str]:
    """The texts of alice that the phone has shown, in order."""
    return [text for sender, text in phone.messages() if sender == ALICE]


async def scenario(name: str, server: ParleyServer, folder: Path) -> None:
    problem = await asyncio.to_thread(run_scenario, name, f"127.0.0.1:{server.ports['tls']}", "tls", folder)
    if problem is not None:
        pytest.fail(f"{name}: {problem}", pytrace=False)


async def test_sipe_writes_to_a_phone_and_is_answered(parley_server: ParleyServer, tmp_path: Path) -> None:
    async with phone_of_bob(parley_server, tmp_path) as bob:
        running = asyncio.create_task(scenario("im-phone", parley_server, tmp_path))
        answered = 0
        while not running.done():
            for text in shown(bob)[answered:]:
                bob.command("message", f"got {text}.")
                answered += 1
            await asyncio.sleep(0.1)
        await running
        assert shown(bob) == ["first", "second", "žluťoučký kůň", "x" * 200, "last"]


async def test_a_phone_writes_to_sipe_before_it_signs_in(parley_server: ParleyServer, tmp_path: Path) -> None:
    async with phone_of_bob(parley_server, tmp_path) as bob:
        for text in ("one", "two", "three"):
            bob.command("message", text)
            await asyncio.sleep(0.3)
        running = asyncio.create_task(scenario("im-from-phone", parley_server, tmp_path))

        async def thanked() -> bool:
            return "thanks" in shown(bob) or running.done()

        await eventually(thanked, timeout=60)
        bob.command("message", "welcome")
        await running
        assert shown(bob) == ["thanks"]
