"""How long a message waits before its sender hears of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from parley.messaging.answers import Outcome
from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.sip.message import Request
from services.messaging import pages
from services.messaging.config import MessagingConfig
from services.messaging.delivery import Result
from services.messaging.pages import Pages
from tests.unit.services.messaging.test_invitations import Spawner

ALICE, BOB = "sip:alice@example.test", "sip:bob@example.test"


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_GRACE_S", 0.05)


class Incoming:
    def __init__(self) -> None:
        headers = [
            ("From", f"<{BOB}>;tag=1"), ("To", f"<{ALICE}>"), ("Call-ID", "c"), ("CSeq", "1 MESSAGE"),
            ("Content-Type", "text/plain"),
        ]  # fmt: skip
        self.request = Request.create("MESSAGE", ALICE, headers=headers, body=b"hello")
        self.user_aor, self.user_name, self.span = BOB, "Bob", None
        self.replies: list[int] = []

    def reply(self, status: int, *_: object) -> None:
        self.replies.append(status)


class Site:
    """Pages whose neighbours the test holds up."""

    def __init__(self) -> None:
        self.hold = {name: asyncio.Event() for name in ("user", "access", "devices", "deliver", "put")}
        for event in self.hold.values():
            event.set()
        self.kept = 0
        self.spawner = Spawner()
        nothing: Any = SimpleNamespace(send=lambda *_, **__: None, look_soon=lambda _: None)
        own: Any = self
        self.pages = Pages(
            MessagingConfig(answer_seconds=0.05), own, own, own, nothing, nothing, nothing, own, own, FakeClock(),
            self.spawner,
        )  # fmt: skip

    async def user(self, aor: str) -> object:
        await self.hold["user"].wait()
        return SimpleNamespace(enabled=True)

    async def blocked(self, *_: str) -> bool:
        await self.hold["access"].wait()
        return False

    async def devices(self, *_: str) -> list[object]:
        await self.hold["devices"].wait()
        return [object()]

    async def deliver(self, *_: object) -> Result:
        await self.hold["deliver"].wait()
        return Result(Outcome.DELIVERED, 200)

    async def put(self, *_: object, pretend: bool) -> str:
        await self.hold["put"].wait()
        self.kept += 1
        return "1"

    async def send(self) -> list[int]:
        incoming: Any = Incoming()
        await self.pages.handle(incoming)
        replies: list[int] = incoming.replies
        return replies


@pytest.mark.parametrize("what", ["user", "access", "devices"])
async def test_a_look_up_that_is_not_answered_is_told(what: str) -> None:
    site = Site()
    site.hold[what].clear()
    async with asyncio.timeout(5):
        with pytest.raises(RpcError) as told:
            await site.send()
    assert told.value.code is StatusCode.DEADLINE_EXCEEDED
    assert site.kept == 0
    assert not site.pages._turns


async def test_a_turn_that_does_not_come_is_told() -> None:
    site = Site()
    async with asyncio.timeout(5), site.pages._turns.of(BOB, ALICE):
        with pytest.raises(RpcError) as told:
            await site.send()
    assert told.value.code is StatusCode.DEADLINE_EXCEEDED
    assert site.kept == 0


async def test_messages_behind_one_that_no_device_takes_are_kept_too() -> None:
    site = Site()
    site.hold["deliver"].clear()
    assert await asyncio.gather(*(site.send() for _ in range(3))) == [[202]] * 3
    assert site.kept == 3
    for task in site.spawner.tasks:
        task.cancel()
    await asyncio.gather(*site.spawner.tasks, return_exceptions=True)


async def test_a_message_that_no_device_takes_in_time_is_kept_however_long_that_takes() -> None:
    site = Site()
    site.hold["deliver"].clear()
    site.hold["put"].clear()
    sending = asyncio.ensure_future(site.send())
    await asyncio.sleep(0.15)
    assert not sending.done()
    site.hold["put"].set()
    assert await sending == [202]
    assert site.kept == 1
    for task in site.spawner.tasks:
        task.cancel()
    await asyncio.gather(*site.spawner.tasks, return_exceptions=True)
