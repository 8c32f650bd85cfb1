"""Calls between real phones: two or more baresip, each with its own account, through a running Parley.

Every phone plays a tone of its own and records what it hears, so "they talk" is judged by the tone that arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.baresip import Account, Phone, tone_share
from tests.support.parley_server import ParleyServer

pytestmark = [pytest.mark.baresip, pytest.mark.valkey]

TONES = {"alice": 440, "bob": 880, "carol": 1320}


class Desk:
    """Phones of one test; all are ended with it."""

    def __init__(self, server: ParleyServer, folder: Path, stack: AsyncExitStack) -> None:
        self._server = server
        self._folder = folder
        self._stack = stack
        self._count = 0

    async def phone(
        self,
        user: str,
        transport: str = "tls",
        *,
        srtp: bool = True,
        tone: int | None = None,
        extra: str = "",
    ) -> Phone:
        """A registered phone."""
        self._count += 1
        account = Account(user, self._server.password, "example.test", self._server.uri(transport), srtp, extra)
        phone = Phone(
            self._folder / f"{user}{self._count}",
            account,
            tone=tone or TONES[user],
            ca_file=self._server.ca_file,
        )
        await self._stack.enter_async_context(phone)
        await phone.wait_registered()
        return phone


@pytest.fixture
async def desk(parley_server: ParleyServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        yield Desk(parley_server, tmp_path, stack)


async def connect(caller: Phone, callee: Phone, target: str) -> None:
    """Calls and answers; returns when both are talking."""
    caller.command("dial", target)
    await callee.wait_event("CALL_INCOMING")
    callee.command("accept")
    await caller.wait_event("CALL_ESTABLISHED")
    await callee.wait_event("CALL_ESTABLISHED")


async def hears(phone: Phone, tone: int, timeout: float = 8) -> None:
    """Returns when the tone makes up nearly all of the last half second that the phone recorded."""
    share = 0.0
    for _ in range(int(timeout / 0.25)):
        samples, rate = phone.heard()
        share = tone_share(samples[-rate // 2 - 1 :], rate, tone)
        if share > 0.8:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"{phone.account.user} does not hear {tone} Hz: share {share:.2f} of {len(samples)} samples")


@pytest.mark.parametrize(
    ("caller_transport", "callee_transport"), [("tls", "tls"), ("udp", "tls"), ("tls", "udp"), ("tcp", "udp")]
)
async def test_two_phones_talk_with_encrypted_media(desk: Desk, caller_transport: str, callee_transport: str) -> None:
    alice = await desk.phone("alice", caller_transport)
    bob = await desk.phone("bob", callee_transport)
    await connect(alice, bob, "sip:bob@example.test")
    await asyncio.gather(hears(alice, TONES["bob"]), hears(bob, TONES["alice"]))
    alice.command("hangup")
    await bob.wait_event("CALL_CLOSED")
    await alice.wait_event("CALL_MENC")


async def test_callee_hangs_up(desk: Desk) -> None:
    alice = await desk.phone("alice", "tls")
    bob = await desk.phone("bob", "udp")
    await connect(alice, bob, "sip:bob@example.test")
    bob.command("hangup")
    await alice.wait_event("CALL_CLOSED")


async def test_fork_to_three_devices_rings_all_and_one_takes_the_call(desk: Desk) -> None:
    devices = [await desk.phone("bob", transport, tone=880 + 100 * i) for i, transport in enumerate(("udp", "tcp", "tls"))]
    alice = await desk.phone("alice")
    alice.command("dial", "sip:bob@example.test")
    for device in devices:
        await device.wait_event("CALL_INCOMING")
    devices[1].command("accept")
    await alice.wait_event("CALL_ESTABLISHED")
    for loser in (devices[0], devices[2]):
        await loser.wait_event("CALL_CLOSED")
        assert 'Reason: SIP ;cause=200 ;text="Call completed elsewhere"' in loser.log()
    await hears(alice, 980)


async def test_busy(desk: Desk) -> None:
    alice = await desk.phone("alice")
    bob = await desk.phone("bob")
    alice.command("dial", "sip:bob@example.test")
    await bob.wait_event("CALL_INCOMING")
    bob.command("hangup")  # baresip declines a ringing call with 486
    closed = await alice.wait_event("CALL_CLOSED")
    assert "486" in str(closed)


async def test_caller_gives_up(desk: Desk) -> None:
    alice = await desk.phone("alice")
    bob = await desk.phone("bob", "udp")
    alice.command("dial", "sip:bob@example.test")
    await bob.wait_event("CALL_INCOMING")
    await alice.wait_event("CALL_RINGING")
    alice.command("hangup")
    await bob.wait_event("CALL_CLOSED")


async def test_nobody_there(desk: Desk) -> None:
    alice = await desk.phone("alice")
    alice.command("dial", "sip:carol@example.test")
    closed = await alice.wait_event("CALL_CLOSED")
    assert "480" in str(closed)


async def test_unknown_user(desk: Desk) -> None:
    alice = await desk.phone("alice")
    alice.command("dial", "sip:nobody@example.test")
    closed = await alice.wait_event("CALL_CLOSED")
    assert "404" in str(closed)


async def test_hold_and_resume_by_reinvite(desk: Desk) -> None:
    alice = await desk.phone("alice")
    bob = await desk.phone("bob", "udp")
    await connect(alice, bob, "sip:bob@example.test")
    await hears(bob, TONES["alice"])
    alice.command("hold")
    await bob.wait_event("CALL_HOLD" if "CALL_HOLD" in bob.log() else "CALL_REMOTE_SDP", where=lambda e: "offer" in str(e))
    alice.command("resume")
    await hears(bob, TONES["alice"])
    alice.command("hangup")
    await bob.wait_event("CALL_CLOSED")


async def test_blind_transfer(desk: Desk) -> None:
    alice = await desk.phone("alice")
    bob = await desk.phone("bob")
    carol = await desk.phone("carol", "udp")
    await connect(alice, bob, "sip:bob@example.test")
    bob.command("transfer", "sip:carol@example.test")
    await carol.wait_event("CALL_INCOMING", 15)
    carol.command("accept")
    await carol.wait_event("CALL_ESTABLISHED")
    await asyncio.gather(hears(carol, TONES["alice"]), hears(alice, TONES["carol"]))
