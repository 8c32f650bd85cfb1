"""Sign-in over HTTP without a network: challenges belong to one connection and end; guessing is slowed down."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from grpc import StatusCode

from parley.ntlm.md4 import nt_hash
from parley.ntlm.messages import SIGNATURE, TargetInfo
from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials, CredentialsLookup, CredentialsResult
from services.web.config import WebLimitsConfig
from services.web.errors import HttpError
from services.web.guarding import FailureGuard
from services.web.schemes import ntlm
from services.web.signing_in import HttpSignIn, Ways
from tests.support.web_client import basic, ntlm_answer

NEGOTIATE = "NTLM " + b64encode(SIGNATURE + b"\x01\x00\x00\x00" + bytes(20)).decode()
OFFER = ["NTLM", 'Basic realm="example.test", charset="UTF-8"']
PASSWORD = "Sécret-1"


class Book:
    """An address book of one user, which may be away."""

    def __init__(self) -> None:
        self.failure: RpcError | None = None
        self.status = 0
        self.user = Credentials(address="sip:alice@example.test", enabled=True, version=3, nt_hash=nt_hash(PASSWORD))

    def submit(self, item: CredentialsLookup, *, timeout: float) -> asyncio.Future[CredentialsResult]:
        future: asyncio.Future[CredentialsResult] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        result = CredentialsResult()
        if self.status or item.login != "alice":
            result.status.code = self.status or cast(int, StatusCode.NOT_FOUND.value[0])
        else:
            result.credentials.CopyFrom(self.user)
        future.set_result(result)
        return future


class Door:
    """A sign-in, and who knocks."""

    def __init__(self, **limits: Any) -> None:
        self.clock, self.book = FakeClock(), Book()
        config = WebLimitsConfig(**limits)
        numbers = iter(range(1, 100_000))
        self.sign_in = HttpSignIn(
            cast(Any, self.book), FailureGuard(config, self.clock, domain="example.test"), self.clock,
            lambda count: next(numbers).to_bytes(count, "big"),
            TargetInfo("EXAMPLE", "WEB", "example.test", "web.example.test"), timeout_s=1.0,
        )  # fmt: skip

    def challenged(self, authorization: str, port: int = 1000) -> list[str]:
        """The challenges for what claims nothing."""
        with pytest.raises(HttpError) as refused:
            self.sign_in.claim(request(authorization, port))
        assert refused.value.status == 401
        return [value for name, value in refused.value.headers if name == "WWW-Authenticate"]

    def answer(self, port: int = 1000, user: str = "alice", password: str = PASSWORD) -> str:
        """What proves the password after a challenge."""
        (value,) = self.challenged(NEGOTIATE, port)
        message = ntlm_answer(b64decode(value.removeprefix("NTLM ")), user, "", password)
        return "NTLM " + b64encode(message).decode()

    async def enter(self, authorization: str, port: int = 1000) -> Credentials:
        """Raises HttpError."""
        asking = request(authorization, port)
        return await self.sign_in.check(asking, self.sign_in.claim(asking), "example.test")


def request(authorization: str = "", port: int = 1000) -> web.Request:
    """One of a connection."""
    transport = Mock()
    transport.get_extra_info.return_value = ("192.0.2.1", port)
    headers = {"Authorization": authorization} if authorization else {}
    return make_mocked_request("POST", "/", headers=headers, transport=transport)


@pytest.mark.parametrize("scheme", ["ntlm", "basic"])
async def test_the_right_password_is_let_in(scheme: str) -> None:
    door = Door()
    user = await door.enter(door.answer() if scheme == "ntlm" else basic("alice", PASSWORD))
    assert (user.address, user.version) == ("sip:alice@example.test", 3)


@pytest.mark.parametrize(
    "authorization",
    [
        "", "Digest x", "NTLM", "NTLM !", "NTLM AAAA", "Basic !", "Basic AAAA", "Basic ä", "NTLM ä",
        "Basic " + b64encode(b":x").decode(), "Basic " + b64encode(b"\xff:x").decode(),
        basic("alice", "x" * 257), basic("alice", "x" * 9000),
    ],
)  # fmt: skip
def test_what_claims_nothing_is_offered_all(authorization: str) -> None:
    assert Door().challenged(authorization) == OFFER


def test_a_challenge_is_its_connections_and_answered_once_and_in_time() -> None:
    door = Door()
    answer = door.answer(port=1000)
    assert door.challenged(answer, port=2000) == OFFER
    assert door.sign_in.claim(request(answer, 1000)).login == "alice"
    assert door.challenged(answer, port=1000) == OFFER
    late = door.answer(port=1000)
    door.clock.advance(61)
    assert door.challenged(late, port=1000) == OFFER


def test_open_challenges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ntlm, "_PENDING", 3)
    door = Door()
    first = door.answer(port=1)
    for port in (2, 3, 4):
        door.answer(port=port)
    assert door.challenged(first, port=1) == OFFER
    assert len(door.sign_in._ntlm._pending) == 3
    door.clock.advance(61)
    door.answer(port=5)
    assert len(door.sign_in._ntlm._pending) == 1


@pytest.mark.parametrize("why", ["password", "user", "disabled", "without a password"])
@pytest.mark.parametrize("scheme", ["ntlm", "basic"])
async def test_whoever_is_not_let_in_is_told_the_same(scheme: str, why: str) -> None:
    door = Door()
    if why == "disabled":
        door.book.user.enabled = False
    if why == "without a password":
        door.book.user.nt_hash = b""
    user, password = "nobody" if why == "user" else "alice", "Wrong" if why == "password" else PASSWORD
    with pytest.raises(HttpError) as refused:
        await door.enter(door.answer(1, user, password) if scheme == "ntlm" else basic(user, password), 1)
    assert refused.value.status == 401
    assert [value for _, value in refused.value.headers] == OFFER


@pytest.mark.parametrize("how", ["call", "item"])
async def test_an_address_book_that_is_away_is_said_so(how: str) -> None:
    door = Door()
    if how == "call":
        door.book.failure = RpcError(StatusCode.UNAVAILABLE, "away")
    else:
        door.book.status = cast(int, StatusCode.UNAVAILABLE.value[0])
    with pytest.raises(HttpError, match="away") as refused:
        await door.enter(basic("alice", PASSWORD))
    assert refused.value.status == 503


async def test_what_keeps_a_sign_in_from_being_checked_is_not_told() -> None:
    for code in (StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL):
        for how in ("call", "item", "password"):
            door = Door()
            error = RpcError(code, "sealed with a key that is not known")
            if how == "password":
                directory = Mock(CheckPassword=AsyncMock(side_effect=error))
                door.sign_in.ways = Ways(directory=directory)
            elif how == "call":
                door.book.failure = error
            else:
                door.book.status = error.number
            with pytest.raises(HttpError) as refused:
                await door.enter(basic("alice", PASSWORD))
            assert refused.value.status == 503
            assert "sealed" not in refused.value.text
            assert ("Retry-After", "5") in refused.value.headers
    door = Door()
    door.book.failure = RpcError(StatusCode.RESOURCE_EXHAUSTED, "too many")
    with pytest.raises(HttpError, match="too many") as refused:
        await door.enter(basic("alice", PASSWORD))
    assert refused.value.status == 429


async def test_a_login_is_the_same_however_it_is_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = AsyncMock()
    monkeypatch.setattr(asyncio, "sleep", sleep)
    door = Door(failures_per_user=6)
    spellings = ("alice", " alice", "ALICE ", "sip:alice", "Sip: alice", "sip:sip:alice", "alice@example.test")
    for login in spellings:
        with pytest.raises(HttpError, match="sign in"):
            await door.sign_in.password(request(), login, "Wrong")
    assert sleep.await_count == 1
    await door.enter(basic("alice", PASSWORD))  # and a success counts for all of them
    for login in (*spellings[:6], "EXAMPLE\\alice", "bob", "alice@elsewhere.test", "x" * 5_000):
        with pytest.raises(HttpError, match="sign in"):
            await door.sign_in.password(request(), login, "Wrong")
    assert sleep.await_count == 1


async def test_answers_about_a_user_are_held_back_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    door = Door(failures_per_user=2, failures_per_source=11)
    for _ in range(10):
        with pytest.raises(HttpError, match="sign in"):
            await door.enter(basic("alice", "Wrong"))
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    await door.enter(basic("alice", PASSWORD))
    with pytest.raises(HttpError, match="sign in"):
        await door.enter(basic("alice", "Wrong"))
    assert len(waits) == 8  # a success wiped the slate
    with pytest.raises(HttpError, match="too many failures") as refused:
        await door.enter(basic("alice", PASSWORD))
    assert refused.value.status == 503
    door.clock.advance(130)
    await door.enter(basic("alice", PASSWORD))
