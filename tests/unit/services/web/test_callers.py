"""Who sends a request, by what is shown besides a password: sessions, web tickets, tokens; each looked up anew."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64encode
from typing import Any, cast
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from grpc import StatusCode

from parley.ntlm.messages import TargetInfo
from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials, CredentialsLookup, CredentialsResult
from parley.proto.registrar.v1.registrar_pb2 import OnceItem, OnceResult
from parley.webticket.tickets import Ticket, Tickets
from services.web.config import WebLimitsConfig
from services.web.errors import HttpError
from services.web.guarding import FailureGuard
from services.web.routes import Caller
from services.web.schemes.bearer import BearerTokens, TokenError, Verified
from services.web.schemes.once import Once
from services.web.schemes.sessions import COOKIE, CSRF_HEADER, Endings, Sessions
from services.web.signing_in import HttpSignIn, Ways
from tests.support.web_client import basic

ADDRESS = "sip:alice@example.test"


class Book:
    """An address book with alice."""

    def __init__(self) -> None:
        self.user = Credentials(address=ADDRESS, display_name="Alice", enabled=True, version=3)
        self.away = False

    def submit(self, item: CredentialsLookup, *, timeout: float) -> asyncio.Future[CredentialsResult]:
        future: asyncio.Future[CredentialsResult] = asyncio.get_running_loop().create_future()
        if self.away:
            future.set_exception(RpcError(StatusCode.UNAVAILABLE, "away"))
            return future
        result = CredentialsResult()
        if item.login in ("alice", "alice@example.test"):
            result.credentials.CopyFrom(self.user)
        else:
            result.status.code = cast(int, StatusCode.NOT_FOUND.value[0])
        future.set_result(result)
        return future


class Registrar:
    """Notes what was used."""

    def __init__(self) -> None:
        self.taken: set[bytes] = set()

    def submit(self, item: OnceItem, *, timeout: float) -> asyncio.Future[OnceResult]:
        future: asyncio.Future[OnceResult] = asyncio.get_running_loop().create_future()
        future.set_result(OnceResult(first=item.digest not in self.taken))
        if not item.look:
            self.taken.add(item.digest)
        return future


class Provider:
    """Takes one token."""

    login = "alice@example.test"

    def __bool__(self) -> bool:
        return True

    async def verify(self, token: str) -> Verified:
        if token != "good":
            raise TokenError("it is another")
        return Verified(self.login, frozenset())


class Rig:
    """A sign-in with all ways."""

    def __init__(self) -> None:
        self.clock, self.book, self.provider = FakeClock(), Book(), Provider()
        self.sessions, self.tickets = Sessions(bytes(32), secrets.token_bytes), Tickets(bytes(32), secrets.token_bytes)
        self.endings = Endings(Once(Registrar(), timeout_s=1))
        ways = Ways(
            domain="example.test", bearer=cast(BearerTokens, self.provider), sessions=self.sessions, endings=self.endings,
            tickets=self.tickets, administrators=frozenset({ADDRESS}),
        )  # fmt: skip
        limits = WebLimitsConfig(failures_per_source=5, failures_per_user=100)
        self.sign_in = HttpSignIn(
            cast(Any, self.book), FailureGuard(limits, self.clock), self.clock, secrets.token_bytes,
            TargetInfo("EXAMPLE", "WEB", "example.test", "web.example.test"), timeout_s=1.0, ways=ways,
        )  # fmt: skip

    async def user(self, *, method: str = "GET", audience: str = "", **headers: str) -> Caller:
        """Who sends a request with some headers; ``_`` in their names stands for ``-``."""
        transport = Mock()
        transport.get_extra_info.return_value = ("192.0.2.1", 1000)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request: web.Request = make_mocked_request(method, "/", headers=named, transport=transport)
        return await self.sign_in.user(request, audience=audience)

    async def refused(self, **asked: str) -> int:
        """The status of a refusal."""
        with pytest.raises(HttpError) as told:
            await self.user(**asked)
        return told.value.status

    def cookie(self, lasts: float = 60) -> tuple[str, str]:
        """A session's cookie, and its token."""
        session = self.sessions.begin(ADDRESS, 3, self.clock.wall() + lasts)
        return f"{COOKIE}={self.sessions.seal(session)}", session.csrf

    def ticket(self, audience: str = "addressbook") -> str:
        """What stands in the header for a web ticket."""
        ticket = Ticket("T-1", ADDRESS, 3, audience, bytes(32), self.clock.wall() + 60)
        sealed = self.tickets.seal(ticket)
        return "opaque=" + b64encode(_assertion(ticket.id, sealed)).decode()


def _assertion(id: str, sealed: str) -> bytes:
    from parley.webticket.trust import TokenResponse

    answer = bytes(TokenResponse("c", "https://web", id, sealed, bytes(32), 1_750_000_000.0, 1_750_000_060.0))
    begin, end = answer.index(b"<saml:Assertion"), answer.index(b"</saml:Assertion>") + len(b"</saml:Assertion>")
    return answer[begin:end]


async def test_a_session_is_good_until_it_ends() -> None:
    rig = Rig()
    cookie, csrf = rig.cookie()
    known = await rig.user(Cookie=cookie)
    assert known == Caller(ADDRESS, "Alice", 3, "session", is_admin=True)
    assert await rig.refused(method="POST", Cookie=cookie) == 403
    assert await rig.refused(method="POST", Cookie=cookie, **{CSRF_HEADER: "0" * 48}) == 403
    assert await rig.user(method="POST", Cookie=cookie, **{CSRF_HEADER: csrf}) == known
    rig.clock.advance(61)
    assert await rig.refused(Cookie=cookie) == 401


async def test_a_session_ends_with_the_user() -> None:
    for change in ({"version": 4}, {"enabled": False}):
        rig = Rig()
        cookie, _ = rig.cookie()
        await rig.user(Cookie=cookie)
        for name, value in change.items():
            setattr(rig.book.user, name, value)
        assert await rig.refused(Cookie=cookie) == 401


async def test_a_session_that_was_ended_is_over() -> None:
    rig = Rig()
    (cookie, _), (other, _) = rig.cookie(), rig.cookie()
    session = rig.sessions.open(cookie.partition("=")[2], rig.clock.wall())
    assert session is not None
    await rig.endings.end(session, rig.clock.wall())
    assert await rig.refused(Cookie=cookie) == 401
    assert (await rig.user(Cookie=other)).address == ADDRESS


async def test_a_ticket_is_for_its_service_its_time_and_its_user() -> None:
    rig = Rig()
    ticket = rig.ticket()
    assert (await rig.user(audience="addressbook", X_MS_WebTicket=ticket)).scheme == "ticket"
    assert await rig.refused(X_MS_WebTicket=ticket) == 401  # a service that takes none
    assert await rig.refused(audience="certificates", X_MS_WebTicket=ticket) == 401
    rig.book.user.version = 4
    assert await rig.refused(audience="addressbook", X_MS_WebTicket=ticket) == 401
    rig.book.user.version = 3
    rig.clock.advance(61)
    assert await rig.refused(audience="addressbook", X_MS_WebTicket=ticket) == 401


@pytest.mark.parametrize("text", ["", "opaque=", "opaque=ä", "opaque=!", "opaque=" + "A" * 20_000, "opaque=PGEvPg=="])
async def test_what_is_no_ticket(text: str) -> None:
    assert await Rig().refused(audience="addressbook", X_MS_WebTicket=text) == 401


async def test_a_token_is_somebodys_who_may_sign_in() -> None:
    rig = Rig()
    assert await rig.user(Authorization="bEaReR good") == Caller(ADDRESS, "Alice", 3, "bearer", is_admin=True)
    assert await rig.refused(Authorization="Bearer bad") == 401
    rig.provider.login = "nobody@example.test"
    assert await rig.refused(Authorization="Bearer good") == 401
    rig.provider.login = ""
    assert await rig.refused(Authorization="Bearer good") == 401
    rig.provider.login = "alice@example.test"
    rig.book.user.enabled = False
    assert await rig.refused(Authorization="Bearer good") == 401


async def test_without_the_address_book_nobody_is_known() -> None:
    rig = Rig()
    cookie, _ = rig.cookie()
    rig.book.away = True
    assert await rig.refused(Cookie=cookie) == 503
    assert await rig.refused(Authorization="Bearer good") == 503
    assert await rig.refused(audience="addressbook", X_MS_WebTicket=rig.ticket()) == 503


async def test_who_fails_too_often_is_not_judged_any_more() -> None:
    rig = Rig()
    cookie, _ = rig.cookie()
    for _ in range(5):
        assert await rig.refused(Authorization="Bearer bad") == 401
    for asked in ({"Authorization": "Bearer good"}, {"Authorization": basic("alice", "x")}, {}):
        assert await rig.refused(**asked) == 503
    assert (await rig.user(Cookie=cookie)).address == ADDRESS  # who is known goes on
    rig.clock.advance(121)  # within one to two minutes
    assert (await rig.user(Authorization="Bearer good")).address == ADDRESS


async def test_what_is_shown_first_counts() -> None:
    rig = Rig()
    cookie, _ = rig.cookie()
    assert await rig.refused(Authorization="Bearer bad", Cookie=cookie) == 401
    assert await rig.refused(Authorization="Nothing x", Cookie=cookie) == 401
