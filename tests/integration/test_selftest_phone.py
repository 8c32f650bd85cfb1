"""The self-test's phone in front of servers that are away, silent, rude, or gone in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from parley.selftest.agent import Identity
from parley.selftest.phone import Phone, PhoneError, Place
from parley.sip.message import Request, make_response, parse_message
from tests.support.ports import free_port

ALICE = Identity("alice@example.test", "a")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[Place]:
    """A TCP server for one phone."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Place("TCP", "127.0.0.1", server.sockets[0].getsockname()[1])


async def asked(reader: asyncio.StreamReader) -> Request:
    """The next request, which has no body."""
    request = parse_message(await reader.readuntil(b"\r\n\r\n"))
    assert isinstance(request, Request)
    return request


async def outcome(place: Place, patience_s: float = 5.0) -> str:
    """What came of asking for options."""
    try:
        async with Phone.open(place, ALICE, patience_s=patience_s) as phone:
            answered = await phone.expect(phone.agent.request("OPTIONS", "sip:example.test"), 200)
            return str(answered.response.status)
    except PhoneError as error:
        return str(error)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
async def test_nobody_is_there(transport: str) -> None:
    place = Place(transport, "127.0.0.1", free_port())
    assert await outcome(place) == f"{place} cannot be reached: Connection refused"


async def test_a_name_that_is_none() -> None:
    place = Place("TCP", "nowhere.invalid", 5060)
    assert (await outcome(place)).startswith("TCP nowhere.invalid:5060 cannot be reached: ")


async def test_an_answer_and_a_refusal() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        statuses = {"alice": 200}
        request = await asked(reader)
        writer.write(b"\r\n\r\n" + bytes(make_response(request, 180)))
        writer.write(bytes(make_response(request, statuses[request.from_.uri.user or ""])))
        await reader.read(2)

    async with served(serve) as place:
        assert await outcome(place) == "200"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = [("Warning", '399 example.test "try tomorrow"')]
        writer.write(bytes(make_response(await asked(reader), 503, headers=headers)))
        await reader.read()

    async with served(refuse) as place:
        told = await outcome(place)
    assert told == f'503 Service Unavailable (399 example.test "try tomorrow") to OPTIONS from {place}'


async def test_a_server_that_says_nothing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()

    async with served(serve) as place:
        assert await outcome(place, 0.2) == f"no answer to OPTIONS within 0.2 s from {place}"


async def test_a_server_that_goes_away() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)

    async with served(serve) as place:
        assert await outcome(place) == f"{place} has closed the connection"


@pytest.mark.parametrize("data", [b"SIP/2.0 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"])
async def test_a_server_that_speaks_something_else(data: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()
        await reader.read()

    async with served(serve) as place:
        assert (await outcome(place)).startswith(f"{place} sends what is no SIP: ")


async def test_a_wait_for_a_request_tells_what_else_came() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(2):
            headers = [
                ("Via", f"SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{number}"), ("From", "<sip:b@example.test>;tag=f"),
                ("To", "<sip:alice@example.test>"), ("Call-ID", str(number)), ("CSeq", "1 MESSAGE"), ("Max-Forwards", "70"),
            ]  # fmt: skip
            writer.write(bytes(Request.create("MESSAGE", "sip:alice@example.test", headers=headers, body=b"no")))
        await reader.read()

    async with served(serve) as place, Phone.open(place, ALICE, patience_s=0.5) as phone:
        with pytest.raises(PhoneError, match=r"no such MESSAGE, but 2 others within 0\.5 s from TCP"):
            await phone.next("MESSAGE", lambda request: request.body == b"yes")
