"""What is kept of credentials that were asked for before anybody could tell of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from parley.platform.clock import FakeClock
from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.streams import Method
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from services.frontend.credentials import CredentialCache, CredentialsClient


class Book:
    """An address book of this process; its answers are given by the test."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[pb.CredentialsResult]] = []
        self._method = Method()
        self._method.batch_function = self._serve

    def handler(self, path: str) -> Any:
        """See `parley.platform.rpc.streams.StreamOpener`."""
        return SimpleNamespace(parley_method=self._method)

    def open_stream(self, path: str, request_type: Any, response_type: Any) -> Any:
        """See `parley.platform.rpc.streams.StreamOpener`."""
        raise AssertionError("it is in this process")

    async def _serve(self, lookups: Sequence[pb.CredentialsLookup]) -> list[pb.CredentialsResult]:
        (lookup,) = lookups
        answer: asyncio.Future[pb.CredentialsResult] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        result = await answer
        result.id = lookup.id
        return [result]

    async def answer(self, name: str) -> None:
        """Answers the last question."""
        credentials = pb.Credentials(address="sip:a@x", display_name=name)
        self.asked[-1].set_result(pb.CredentialsResult(credentials=credentials))
        await settle()


async def settle() -> None:
    """Returns when nothing moves any more."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_is_forgotten_once_events_are_heard() -> None:
    book, heard = Book(), asyncio.Event()
    client: CredentialsClient = BatchClient(book, "/x/GetCredentials", pb.GetCredentialsRequest, pb.GetCredentialsResponse)
    cache = CredentialCache(client, FakeClock(), keep_s=300, timeout_s=3)
    told: list[Any] = []

    async def ask(login: str) -> None:
        cache.get(login, "x", "", told.append)
        await settle()

    await ask("a")
    await book.answer("before")
    await ask("b")  # is under way when events are heard
    forgetting = asyncio.ensure_future(cache.forget_once(SimpleNamespace(ready=heard.wait, stop=heard.wait)))
    await settle()
    await ask("a")
    assert len(book.asked) == 2
    heard.set()
    await forgetting
    await book.answer("before")
    for number, login in enumerate(("a", "b"), 3):
        await ask(login)
        assert len(book.asked) == number
        await book.answer("after")
        await ask(login)
    assert [each.display_name for each in told] == ["before"] * 3 + ["after"] * 4
    await client.stop()
