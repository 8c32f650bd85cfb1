"""The HTTPS port: what is answered when a handler fails, and connections that do nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import pytest
from aiohttp import web

from parley.platform.clock import FakeClock
from parley.platform.telemetry.tracing import NO_TRACER
from parley.platform.tls import DevelopmentCa, ServerTls
from services.web.config import WebLimitsConfig
from services.web.errors import HttpError
from services.web.guarding_pages import PageGuard
from services.web.routes import Caller, Route, Style, Urls
from services.web.server import HttpsServer
from tests.support.waiting import until

HOST = "127.0.0.1"


async def fails(request: web.Request) -> web.Response:
    """A handler with a mistake."""
    raise RuntimeError("a secret of ours")


async def breaks(request: web.Request) -> web.Response:
    """A handler whose request's body ends too early."""
    raise web.RequestPayloadError("c2VjcmV0")


async def waits(request: web.Request) -> web.Response:
    """A handler that takes its time."""
    await asyncio.sleep(0.3)
    return web.Response(text="done")


async def nobody(request: web.Request, route: Route) -> Caller:
    """Lets nobody in."""
    raise HttpError(401, "sign in")


@asynccontextmanager
async def serving(folder: Path, **limits: float) -> AsyncIterator[tuple[HttpsServer, int, ssl.SSLContext]]:
    """A server of these handlers, its port, and what trusts it."""
    ca = DevelopmentCa(folder)
    tls = ServerTls(ca.issue("web", [HOST]))
    routes = [Route("GET", f"/{style.value}", fails, style=style) for style in Style]
    routes += [Route("GET", "/waits", waits), Route("GET", "/breaks", breaks)]
    pages = PageGuard(Urls("https://web.example.test"), hsts_days=0)
    server = HttpsServer(routes, WebLimitsConfig.model_validate(limits), FakeClock(), NO_TRACER, nobody, pages)
    await server.open([HOST], 0, tls.context)
    try:
        yield server, server.addresses[0][1], ssl.create_default_context(cafile=str(ca.certificate))
    finally:
        await server.close()


@pytest.mark.parametrize(("style", "text"), [("soap", "Fault"), ("problem", '"status": 500'), ("scim", '"status": "500"')])
async def test_what_fails_is_told_as_the_interface_tells_it(tmp_path: Path, style: str, text: str) -> None:
    async with serving(tmp_path) as (_, port, context), aiohttp.ClientSession() as session:
        async with session.get(f"https://{HOST}:{port}/{style}", ssl=context) as answer:
            said = await answer.text()
        assert answer.status == 500
        assert text in said
        assert "secret" not in said
        assert answer.headers["Server"] == "Parley"


async def test_a_body_that_breaks_is_a_bad_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as (_, port, context), aiohttp.ClientSession() as session:
        async with session.get(f"https://{HOST}:{port}/breaks", ssl=context) as answer:
            assert answer.status == 400
        assert "c2VjcmV0" not in caplog.text


async def test_connections_without_a_handshake_count_and_end_in_time(tmp_path: Path) -> None:
    async with serving(tmp_path, connections_per_address=2, request_seconds=0.5) as (server, port, context):
        silent = [await asyncio.open_connection(HOST, port) for _ in range(2)]
        refused, writer = await asyncio.open_connection(HOST, port)
        assert await asyncio.wait_for(refused.read(), 5) == b""
        writer.close()
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), 5) == b""
        ports = server._ports
        assert ports is not None
        await until(lambda: ports.count == 0)
        async with aiohttp.ClientSession() as session, session.get(f"https://{HOST}:{port}/nothing", ssl=context) as answer:
            assert (answer.status, ports.count) == (404, 1)
        await until(lambda: ports.count == 0)
        for _, writer in silent:
            writer.close()


async def test_a_kind_of_address_that_the_machine_lacks_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = socket.socket

    def only_ipv4(family: int = -1, *more: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return make(family, *more, **named)

    both = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in (
        (socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, (HOST, 0)),
    )]  # fmt: skip
    async with serving(tmp_path) as (server, _, _):
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", AsyncMock(side_effect=[both, both[:1]]))
        ports = server._ports
        assert ports is not None
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", only_ipv4)
            ((host, _),) = await ports.listen("localhost", 0)
            with pytest.raises(OSError, match="no address of a kind"):
                await ports.listen("::1", 0)
        assert host == HOST


async def test_what_is_being_answered_is_answered_before_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, port, context), aiohttp.ClientSession() as session:
        asked = asyncio.ensure_future(session.get(f"https://{HOST}:{port}/waits", ssl=context))
        silent, writer = await asyncio.open_connection(HOST, port)
        await asyncio.sleep(0.2)
        await server.close()
        assert await (await asked).text() == "done"
        assert await asyncio.wait_for(silent.read(), 5) == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
