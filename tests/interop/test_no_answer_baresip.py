"""A real phone that rings and that nobody answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.baresip import Account, Phone
from tests.support.parley_server import ParleyServer

pytestmark = [pytest.mark.baresip, pytest.mark.valkey]


async def test_the_caller_is_told_and_the_phone_stops_ringing(tmp_path: Path) -> None:
    server = ParleyServer(tmp_path / "parley", config={"frontend": {"timer_c": 3}})
    await server.start()
    try:
        phones = []
        for user, tone in (("alice", 440), ("bob", 880)):
            account = Account(user, server.password, "example.test", server.uri("tls"), True, "")
            phones.append(Phone(tmp_path / user, account, tone=tone, ca_file=server.ca_file))
        async with phones[0] as alice, phones[1] as bob:
            await alice.wait_registered()
            await bob.wait_registered()
            alice.command("dial", "sip:bob@example.test")
            await bob.wait_event("CALL_INCOMING")
            await bob.wait_event("CALL_CLOSED", timeout=10)
            closed = await alice.wait_event("CALL_CLOSED", timeout=10)
            assert "408" in str(closed)
    finally:
        await server.stop()
