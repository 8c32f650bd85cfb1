"""Users of the self-test, made by an address book that does not always answer."""

from __future__ import annotations

from typing import Any, cast

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from parley.selftest import directory
from parley.selftest.directory import Directory
from parley.selftest.report import StepFailed

AWAY = RpcError(StatusCode.UNAVAILABLE, "the write is not confirmed to be on disk")


class Book:
    """Answers calls as told; the last answer from then on. It is a host with one channel too."""

    def __init__(self, *answers: RpcError | None) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def channel(self, service: str, target: str | None) -> Book:
        return self

    def stub(self, kind: Any) -> Book:
        return self

    async def CreateUser(self, request: pb.CreateUserRequest, timeout: float) -> None:
        self.asked.append(request.user.address)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is not None:
            raise answer


def directory_of(book: Book, patience_s: float = 10.0) -> Directory:
    return Directory(cast(RpcHost, book), None, "example.test", patience_s)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_PAUSE_S", 0.01)


async def test_a_store_that_is_away_for_a_moment_is_waited_for() -> None:
    there = RpcError(StatusCode.ALREADY_EXISTS, "that user is there")
    book = Book(AWAY, there, None)
    made = directory_of(book)
    await made.create_users()
    (first, again, second) = book.asked
    assert first == again != second
    assert [user.address for user in made.users] == [first, second]


async def test_one_that_stays_away_is_told_of() -> None:
    with pytest.raises(StepFailed, match="not confirmed to be on disk"):
        await directory_of(Book(AWAY), patience_s=0.1).create_users()


@pytest.mark.parametrize("code", [StatusCode.ALREADY_EXISTS, StatusCode.INVALID_ARGUMENT])
async def test_what_waiting_does_not_help_against_is_told_at_once(code: StatusCode) -> None:
    book = Book(RpcError(code, "no"))
    with pytest.raises(StepFailed, match=code.name):
        await directory_of(book).create_users()
    assert len(book.asked) == 1
