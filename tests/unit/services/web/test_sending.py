"""Files on their way: what is cut off, what has an answer of its own, and how many there may be at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from services.web.downloads.conditions import FileInfo
from services.web.downloads.sending import Downloads
from services.web.errors import HttpError
from services.web.routes import Caller, add_header, note
from tests.support.waiting import until

DATA = bytes(range(256)) * 1_000
FILE = FileInfo(len(DATA), hashlib.sha256(DATA).hexdigest(), 1_750_032_000.0)
AWAY = RpcError(StatusCode.UNAVAILABLE, "gone")


@dataclass
class Message:
    """As the address book gives them."""

    data: bytes


class Kept:
    """A file elsewhere, which may fail behind some bytes, or wait there."""

    def __init__(self, *, fails_at: int | None = None, ends_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.ends_at = ends_at
        self.hold: asyncio.Event | None = None
        self.open = 0

    async def read(self, first: int, count: int) -> AsyncIterator[Message]:
        """In pieces of 10,000 bytes."""
        self.open += 1
        try:
            for at in range(first, first + count, 10_000):
                if self.fails_at is not None and at >= self.fails_at:
                    raise AWAY
                if self.ends_at is not None and at >= self.ends_at:
                    return
                yield Message(DATA[at : min(at + 10_000, first + count)])
                if self.hold is not None:
                    await self.hold.wait()
        finally:
            self.open -= 1


@asynccontextmanager
async def serving(
    kept: Kept, downloads: Downloads | None = None, send: Callable[..., Any] | None = None
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:  # fmt: skip
    """A server of one file, for the user whom a header names."""
    downloads = downloads or Downloads(most=8, most_per_user=8)

    async def handle(request: web.Request) -> web.StreamResponse:
        user = request.headers.get("X-User", "")
        if user:
            note(request, caller=Caller(user, "", 1, "basic"))
        add_header(request, "WWW-Authenticate", "Negotiate proof")
        try:
            if request.path == "/all":
                return await downloads.send_all(request, "logs", kept.read(0, len(DATA)))
            return await downloads.send(request, "addressbook", FILE, kept.read)
        except HttpError as error:
            return web.Response(status=error.status, headers=dict(error.headers))
        except RpcError:
            return web.Response(status=503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield str(server.make_url("/file")), session


async def test_all_of_it_comes_with_the_headers_that_were_added() -> None:
    async with serving(Kept()) as (url, session), session.get(url) as answer:
        assert await answer.read() == DATA
        assert answer.headers["WWW-Authenticate"] == "Negotiate proof"
        assert answer.headers["Content-Length"] == str(len(DATA))


async def test_a_part_is_read_as_a_part() -> None:
    asked: list[tuple[int, int]] = []
    kept = Kept()
    read = kept.read

    def noted(first: int, count: int) -> AsyncIterator[Message]:
        asked.append((first, count))
        return read(first, count)

    kept.read = noted  # type: ignore[method-assign]
    async with serving(kept) as (url, session):
        async with session.get(url, headers={"Range": "bytes=95000-114999"}) as answer:
            assert (answer.status, await answer.read()) == (206, DATA[95_000:115_000])
        async with session.head(url, headers={"Range": "bytes=0-1"}) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(DATA)))
        async with session.get(url, headers={"If-None-Match": FILE.etag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
    assert asked == [(95_000, 20_000)]  # for the others nothing is read


async def test_what_fails_before_the_first_byte_has_an_answer() -> None:
    async with serving(Kept(fails_at=0)) as (url, session), session.get(url) as answer:
        assert answer.status == 503


@pytest.mark.parametrize(("path", "how"), [("file", "fails_at"), ("file", "ends_at"), ("all", "fails_at")])
async def test_what_fails_in_the_middle_is_cut_off(path: str, how: str) -> None:
    kept = Kept(**{how: 50_000})
    async with serving(kept) as (url, session), session.get(url.replace("file", path)) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        assert kept.open == 0


async def test_whoever_goes_away_lets_the_reading_end() -> None:
    kept = Kept()
    kept.hold = asyncio.Event()
    async with serving(kept) as (url, session):
        async with session.get(url) as answer:
            await answer.content.readexactly(10_000)
            assert kept.open == 1
            answer.close()
        kept.hold.set()
        await until(lambda: kept.open == 0)


async def test_so_many_at_a_time() -> None:
    kept = Kept()
    kept.hold = asyncio.Event()
    async with serving(kept, Downloads(most=3, most_per_user=2)) as (url, session):

        async def begin(user: str) -> aiohttp.ClientResponse:
            return await session.get(url, headers={"X-User": user})

        alice = [await begin("alice"), await begin("alice")]
        third = await begin("alice")
        assert (third.status, third.headers["Retry-After"]) == (503, "20")
        bob = await begin("bob")
        assert bob.status == 200
        assert (await begin("carol")).status == 503
        async with session.head(url, headers={"X-User": "carol"}) as head:
            assert head.status == 200  # which holds nothing
        kept.hold.set()
        for answer in (*alice, bob):
            assert await answer.read() == DATA
        assert await (await begin("carol")).read() == DATA


async def test_nobody_counts_by_the_address() -> None:
    kept = Kept()
    kept.hold = asyncio.Event()
    async with serving(kept, Downloads(most=8, most_per_user=1)) as (url, session):
        first = await session.get(url)
        assert (await session.get(url)).status == 503
        kept.hold.set()
        assert await first.read() == DATA
