"""What says over HTTP who one is: SPNEGO tokens, Basic, cookies, bearer tokens; and the paths of the route table."""

from __future__ import annotations

import asyncio

from aiohttp import web

from parley.platform.clock import FakeClock
from parley.sipae.spnego import Mechanism, SpnegoError, Token, answer, initial
from services.web.routes import Route, RouteTable
from services.web.schemes.basic import basic_claim
from services.web.schemes.bearer import BearerTokens, TokenError
from services.web.schemes.sessions import Sessions

NOW = 1_750_000_000.0
SESSIONS = Sessions(bytes(range(32)), lambda count: bytes(count))


async def _handler(request: web.Request) -> web.StreamResponse:
    raise AssertionError("nobody asks it")


PATHS = ("/a", "/a/{b}", "/a/{b}/c", "/f/{path...}")
TABLE = RouteTable([Route("GET", path, _handler) for path in PATHS])


def fuzz_one(data: bytes) -> None:
    """The same bytes as each of them."""
    _spnego(data)
    claim = basic_claim(data)
    if claim is not None:
        assert claim.login
        assert f"{claim.login}:{claim.password}".encode() == data
        assert not claim.proves(bytes(16))
    text = data.decode("utf-8", "surrogateescape")
    assert SESSIONS.open(text, NOW) is None
    _bearer(text)
    _path(text)


def _spnego(data: bytes) -> None:
    try:
        token = Token.parse(data)
    except SpnegoError as error:
        assert str(error)
    else:
        assert token.data in data
        mechanism = token.mechanism or Mechanism.NTLM
        assert Token.parse(initial(mechanism, token.data)) == Token(mechanism, token.data, is_wrapped=True)
    if data:
        assert Token.parse(answer(Mechanism.KERBEROS, data, complete=True)) == Token(None, data, is_wrapped=True)


def _bearer(text: str) -> None:
    try:
        asyncio.run(BearerTokens([], FakeClock()).verify(text))
    except TokenError as error:
        assert str(error)
        return
    raise AssertionError("nobody issues tokens")


def _path(text: str) -> None:
    found = TABLE.find("GET", text)
    assert (found.route is None) == (not found.methods)
    if found.route is not None:
        assert all(value for name, value in found.parameters.items() if name != "path")
