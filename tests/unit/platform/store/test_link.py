"""A connection to Redis against a server that does as the test says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest

from parley.platform.store.errors import StoreError, StoreTimeout, StoreUnavailable
from parley.platform.store.link import Address, Link

Answer = Callable[[list[bytes]], bytes | None]
"""RESP for a command; None: none."""


class Server:
    """Speaks RESP on a unix socket; notes the commands that came in each read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: Answer = lambda command: b"+OK\r\n"
        self.reads: list[list[list[bytes]]] = []
        self.connections: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.drop()
            await self._server.wait_closed()
            self._server = None

    def drop(self) -> None:
        """Closes what is open."""
        for writer in self.connections:
            writer.transport.abort()
        self.connections.clear()

    @property
    def commands(self) -> list[list[bytes]]:
        """All but the greeting."""
        return [command for read in self.reads for command in read if command != [b"PING"]]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            commands: list[Any] = []
            while (command := parser.gets()) is not False:
                commands.append(command)
            self.reads.append(commands)
            for command in commands:
                reply = b"+PONG\r\n" if command == [b"PING"] else self.answer(command)
                if reply is not None:
                    writer.write(reply)
        writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    running = Server(tmp_path / "redis.sock")
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    opened = Link(Address(path=str(server.path)), timeout_s=5)
    yield opened
    await opened.close()


async def outcome(future: asyncio.Future[Any]) -> Any:
    """The reply or the exception."""
    return (await asyncio.gather(future, return_exceptions=True))[0]


async def test_commands_of_one_turn_leave_in_one_write_and_replies_come_in_order(server: Server, link: Link) -> None:
    server.answer = lambda command: b"$%d\r\n%s\r\n" % (len(command[1]), command[1])
    await link.execute("ECHO", "first")
    server.reads.clear()
    replies = await asyncio.gather(*(link.submit(("ECHO", f"n{i}")) for i in range(100)))
    assert replies == [b"n%d" % i for i in range(100)]
    assert len(server.reads) == 1


async def test_arguments_of_every_kind_are_sent(server: Server, link: Link) -> None:
    await link.execute("SET", "käse", b"\x00\xff", 7, 1.5)
    assert server.commands == [[b"SET", "käse".encode(), b"\x00\xff", b"7", b"1.5"]]


async def test_error_replies_fail_only_their_command(server: Server, link: Link) -> None:
    replies = {b"a": b"-WRONGTYPE no hash\r\n", b"b": b":1\r\n", b"c": b"-LOADING it reads\r\n"}
    server.answer = lambda command: replies[command[1]]
    wrong, right, loading = [await outcome(link.submit(("X", name))) for name in "abc"]
    assert type(wrong) is StoreError
    assert str(wrong) == "WRONGTYPE no hash"
    assert right == 1
    assert type(loading) is StoreUnavailable


@pytest.mark.parametrize("reply", [b"$5\r\nab", b"*2\r\n:1\r\n"])
async def test_reply_that_breaks_off_is_a_lost_connection(server: Server, link: Link, reply: bytes) -> None:
    server.answer = lambda command: reply
    future = link.submit(("GET", "k"))
    while not server.commands:
        await asyncio.sleep(0)
    server.drop()
    assert type(await outcome(future)) is StoreUnavailable


async def test_bytes_that_are_no_resp_end_the_connection(server: Server, link: Link) -> None:
    server.answer = lambda command: b"HTTP/1.1 400 Bad Request\r\n\r\n"
    error = await outcome(link.submit(("GET", "k")))
    assert str(error).startswith("Redis sent no RESP")
    server.answer = lambda command: b"+OK\r\n"
    assert await link.execute("GET", "k") == b"OK"


async def test_what_was_under_way_fails_and_is_not_sent_again(server: Server, link: Link) -> None:
    server.answer = lambda command: None
    futures = [link.submit(("INCR", "n")) for _ in range(3)]
    while len(server.commands) < 3:
        await asyncio.sleep(0)
    server.drop()
    for future in futures:
        assert isinstance(await outcome(future), StoreUnavailable)
    server.answer = lambda command: b":1\r\n"
    assert await link.execute("GET", "n") == 1
    assert server.commands == [[b"INCR", b"n"]] * 3 + [[b"GET", b"n"]]


async def test_cancelled_command_shifts_no_reply(server: Server, link: Link) -> None:
    server.answer = lambda command: b"$1\r\n%s\r\n" % command[1]
    given_up, kept = link.submit(("ECHO", "a")), link.submit(("ECHO", "b"))
    given_up.cancel()
    assert await kept == b"b"


async def test_away_fails_at_once_until_the_backoff_is_over(tmp_path: Path) -> None:
    link = Link(Address(path=str(tmp_path / "nobody.sock")))
    error = await outcome(link.submit(("PING",)))
    assert "cannot be reached" in str(error)
    at_once = link.submit(("PING",))
    assert at_once.done()
    assert isinstance(at_once.exception(), StoreUnavailable)
    await link.close()


async def test_comes_back_by_itself(server: Server, link: Link) -> None:
    assert await link.execute("GET", "k") == b"OK"
    await server.stop()
    assert isinstance(await outcome(link.submit(("GET", "k"))), StoreUnavailable)
    server.path.unlink(missing_ok=True)
    await server.start()
    while isinstance(reply := await outcome(link.submit(("GET", "k"))), StoreUnavailable):
        await asyncio.sleep(0.01)
    assert reply == b"OK"


async def test_kernel_asks_a_server_at_rest_whether_it_is_still_there() -> None:
    """Where its machine failed, the next command would be lost; on Linux each connection has its own patience."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link(Address("127.0.0.1", server.sockets[0].getsockname()[1]))
    try:
        assert await link.execute("PING") == b"PONG"
        assert link._transport is not None
        connection = link._transport.get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        patience = [
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
        assert patience[0] + patience[1] * patience[2] <= 15, "seconds until it is taken for gone"
    finally:
        await link.close()
        server.close()
        await server.wait_closed()


async def test_silent_server_is_a_timeout_and_late_replies_reach_nobody(server: Server) -> None:
    link = Link(Address(path=str(server.path)), timeout_s=0.05)
    server.answer = lambda command: b"+fast\r\n" if command[1] == b"fast" else None
    silent, behind = link.submit(("GET", "slow")), link.submit(("GET", "behind"))
    assert type(await outcome(silent)) is StoreTimeout
    assert type(await outcome(behind)) is StoreTimeout
    server.connections[0].write(b"+late\r\n")
    assert await link.execute("GET", "fast") == b"fast"
    await link.close()


async def test_refused_password_is_said_without_the_password(server: Server) -> None:
    server.answer = lambda command: b"-WRONGPASS invalid username-password pair\r\n"
    link = Link(Address(path=str(server.path), user="u", password="s3cret", database=2))
    error = await outcome(link.submit(("GET", "k")))
    assert "WRONGPASS" in str(error)
    assert "s3cret" not in f"{error} {link.address!r}"
    assert server.commands[0] == [b"AUTH", b"u", b"s3cret"]
    await link.close()


async def test_greeting_authenticates_and_selects_before_any_command(server: Server) -> None:
    link = Link(Address(path=str(server.path), password="p", database=3))
    await link.execute("GET", "k")
    assert server.commands == [[b"AUTH", b"default", b"p"], [b"SELECT", b"3"], [b"GET", b"k"]]
    await link.close()


async def test_closed_link_fails_what_waits_and_what_comes(server: Server) -> None:
    server.answer = lambda command: None
    link = Link(Address(path=str(server.path)))
    waiting = link.submit(("GET", "k"))
    while not server.commands:
        await asyncio.sleep(0)
    unsent = link.submit(("GET", "other"))
    await link.close()
    for future in (waiting, unsent, link.submit(("GET", "k"))):
        assert isinstance(await outcome(future), StoreUnavailable)
    assert link.idle


async def test_a_link_closed_while_it_connects(server: Server) -> None:
    link = Link(Address(path=str(server.path)))
    waiting = link.submit(("GET", "k"))
    await asyncio.sleep(0)
    await link.close()
    assert isinstance(await outcome(waiting), StoreUnavailable)
