"""Who the users are: how long a look-up may take, and what of it is remembered."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.applications import users as module
from parley.platform.applications.users import UserNames
from parley.platform.clock import FakeClock
from parley.platform.events.api import Event
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import GetUserRequest, User
from parley.proto.events.v1.user_pb2 import UserChanged
from tests.support.waiting import until

ALICE = "sip:alice@example.test"
CHANGED = Event("parley.users", ALICE, UserChanged(address=ALICE), "", 0)


class Book:
    """An address book that answers when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.name = "Alice"
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def GetUser(self, request: GetUserRequest, *, timeout: float) -> object:
        self.asked += 1
        name = self.name
        await self.may_answer.wait()
        return SimpleNamespace(user=User(address=request.address, display_name=name))


def names(book: Any, timeout_s: float = 3.0) -> UserNames:
    return UserNames(book, FakeClock(), timeout_s=timeout_s)


async def test_the_wait_for_the_turn_counts() -> None:
    book = Book()
    users = names(book, timeout_s=60)
    book.may_answer.clear()
    asking = [asyncio.ensure_future(users.user(f"sip:{number}@example.test")) for number in range(module._AT_A_TIME)]
    await until(lambda: book.asked == module._AT_A_TIME)
    users._timeout_s = 0.05
    async with asyncio.timeout(5):
        late = await asyncio.gather(*(users.user(f"sip:late{n}@example.test") for n in range(5)), return_exceptions=True)
    assert [answer.code for answer in late if isinstance(answer, RpcError)] == [StatusCode.DEADLINE_EXCEEDED] * 5
    assert book.asked == module._AT_A_TIME
    book.may_answer.set()
    assert all(await asyncio.gather(*asking))
    assert await users.name_of(ALICE) == "Alice"


@pytest.mark.parametrize("how", ["changed", "forget_all"])
async def test_an_answer_that_a_change_overtook_is_not_remembered(how: str) -> None:
    book = Book()
    users = names(book)
    book.may_answer.clear()
    asking = asyncio.ensure_future(users.name_of(ALICE))
    await asyncio.sleep(0)
    book.name = "Alice Brown"
    if how == "changed":
        await users.on_user_changed(CHANGED)
    else:
        users.forget_all()
    book.may_answer.set()
    assert await asking == "Alice"
    assert [await users.name_of(ALICE) for _ in range(2)] == ["Alice Brown"] * 2
    assert book.asked == 2


async def test_all_is_forgotten_once_events_are_heard() -> None:
    book, heard = Book(), asyncio.Event()
    users = names(book)
    assert await users.name_of(ALICE) == "Alice"
    forgetting = asyncio.ensure_future(users.forget_once(SimpleNamespace(ready=heard.wait, stop=heard.wait)))
    await asyncio.sleep(0)
    book.name = "Alice Brown"
    assert await users.name_of(ALICE) == "Alice"
    heard.set()
    await forgetting
    assert await users.name_of(ALICE) == "Alice Brown"
