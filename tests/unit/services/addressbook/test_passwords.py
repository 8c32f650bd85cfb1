"""Passwords that a directory server is asked about: how many at a time, and what waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from services.addressbook.credentials import Vault
from services.addressbook.directory.passwords import PasswordChecker
from tests.support.waiting import until

AT_ONCE, WAITING = 8, 64


class SilentServer:
    """It does not answer until it is told to."""

    name = "main"
    source = "ldap:main"
    nobody = "cn=nobody"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.speaks = threading.Event()

    def check_password(self, name: str, password: str) -> bool:
        self.asked.append(password)
        self.speaks.wait(30)
        return True


class Nobody:
    """No users, no entries."""

    async def addresses_of(self, logins: list[str]) -> list[None]:
        return [None for _ in logins]


@pytest.fixture
def server() -> Iterator[SilentServer]:
    made = SilentServer()
    yield made
    made.speaks.set()


@pytest.fixture
def checker(server: SilentServer) -> PasswordChecker:
    nobody: Any = Nobody()
    servers: Any = {server.source: server}
    return PasswordChecker(nobody, nobody, Vault(b"k" * 32), servers)


def tries(checker: PasswordChecker, count: int, name: str = "") -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(checker.check("ada", "example.test", f"{name}{number}")) for number in range(count)]


async def test_a_silent_server_does_not_keep_others_from_threads(checker: PasswordChecker, server: SilentServer) -> None:
    waiting = tries(checker, AT_ONCE + WAITING)
    await until(lambda: len(server.asked) == AT_ONCE)
    assert await asyncio.wait_for(asyncio.gather(*(asyncio.to_thread(int, "7") for _ in range(64))), 10)
    assert len(server.asked) == AT_ONCE
    server.speaks.set()
    assert await asyncio.gather(*waiting) == [None] * (AT_ONCE + WAITING)
    assert len(server.asked) == AT_ONCE + WAITING


async def test_questions_that_were_given_up_keep_their_threads_and_no_more(
    checker: PasswordChecker, server: SilentServer
) -> None:
    given_up = tries(checker, AT_ONCE + WAITING)
    await until(lambda: len(server.asked) == AT_ONCE)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    later = tries(checker, WAITING, "later")
    await asyncio.sleep(0.1)
    assert len(server.asked) == AT_ONCE  # those that nobody waits for are being asked still
    server.speaks.set()
    await asyncio.gather(*later)
    assert sorted(server.asked[AT_ONCE:]) == sorted(f"later{number}" for number in range(WAITING))


async def test_when_very_many_wait_others_are_told_so(checker: PasswordChecker, server: SilentServer) -> None:
    waiting = tries(checker, AT_ONCE + WAITING)
    await until(lambda: len(server.asked) == AT_ONCE)
    with pytest.raises(RpcError) as caught:
        await checker.check("ada", "example.test", "one more")
    assert caught.value.code is StatusCode.UNAVAILABLE
    server.speaks.set()
    await asyncio.gather(*waiting)
    assert await checker.check("ada", "example.test", "one more") is None
