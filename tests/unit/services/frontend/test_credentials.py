"""What is kept of credentials that were asked for before anybody could tell of changes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from parley.platform.clock import FakeClock
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials, CredentialsResult
from services.frontend.credentials import CredentialCache, CredentialsClient


class Book:
    """Its answers are given by the test."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[CredentialsResult]] = []

    def submit(self, lookup: object, *, timeout: float) -> asyncio.Future[CredentialsResult]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    async def answer(self, name: str) -> None:
        self.asked[-1].set_result(CredentialsResult(credentials=Credentials(address="sip:a@x", display_name=name)))
        await asyncio.sleep(0)


async def test_all_is_forgotten_once_events_are_heard() -> None:
    book, heard = Book(), asyncio.Event()
    cache = CredentialCache(cast(CredentialsClient, book), FakeClock(), keep_s=300, timeout_s=3)
    told: list[Any] = []

    def ask(login: str) -> None:
        cache.get(login, "x", "", told.append)

    ask("a")
    await book.answer("before")
    ask("b")  # is under way when events are heard
    forgetting = asyncio.ensure_future(cache.forget_once(SimpleNamespace(ready=heard.wait, stop=heard.wait)))
    await asyncio.sleep(0)
    ask("a")
    assert len(book.asked) == 2
    heard.set()
    await forgetting
    await book.answer("before")
    for number, login in enumerate(("a", "b"), 3):
        ask(login)
        assert len(book.asked) == number
        await book.answer("after")
        ask(login)
    assert [each.display_name for each in told] == ["before"] * 3 + ["after"] * 4
