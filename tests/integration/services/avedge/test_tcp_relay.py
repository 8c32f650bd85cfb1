"""TCP relayed by the edge as a process (RFC 6062): dialled and accepted, both ways, with slow ends and ends that go away."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from parley.stun.addresses import Address, Family
from parley.stun.framing import StreamFramer
from parley.stun.turn.allocate import TCP
from parley.stun.turn.allocations import Allocation, Dialect, Flow, Transport
from parley.stun.turn.client import TurnClient
from parley.stun.turn.events import Allocated, ClientEvent, Connected, ConnectionBound, Failed, Permitted, Released
from parley.stun.turn.shell import PeerConnection
from parley.stun.turn.transactions import Session
from services.avedge.carriers import Carriers
from services.avedge.planes.python import Own
from services.avedge.ports import PortPool
from services.avedge.tcp_relay import TcpRelay
from tests.support.edge import PASSWORD, USER, EdgeNode
from tests.support.ports import free_port

HOST = "127.0.0.1"
LARGE = random.Random(6062).randbytes(6_000_000)
READ = 65_536


class StreamClient:
    """A TURN client on a stream of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session) -> None:
        self.reader, self.writer = reader, writer
        self.core = TurnClient(session, stream=True)
        self._framer = StreamFramer()
        self._events: list[ClientEvent] = []
        self._early = b""

    async def next(self) -> ClientEvent:
        """What happens next."""
        async with asyncio.timeout(10):
            while not self._events:
                self.writer.write(b"".join(self.core.take_outgoing()))
                data = await self.reader.read(READ)
                assert data, "the edge closed the stream"
                self._framer.feed(data)
                for message in self._framer.messages():
                    self.core.receive(message, time.monotonic())
                    self._events += self.core.take_events()
                    if ConnectionBound() in self._events:
                        self._early = self._framer.rest()
                self.writer.write(b"".join(self.core.take_outgoing()))
        return self._events.pop(0)

    async def exactly(self, size: int) -> bytes:
        """So many bytes of the peer."""
        early, self._early = self._early[:size], self._early[size:]
        return early + await exactly(self.reader, size - len(early))

    async def all(self, *, pause: float = 0.0) -> bytes:
        """All that the peer sends."""
        return self._early + await read_all(self.reader, pause=pause)

    async def allocate(self) -> Address:
        """Its TCP relay."""
        self.core.allocate(time.monotonic(), protocol=TCP)
        event = await self.next()
        assert isinstance(event, Allocated), event
        return event.relayed[0]

    async def permit(self, host: str) -> None:
        """Peers of that address may connect."""
        self.core.permit([host], time.monotonic())
        assert isinstance(await self.next(), Permitted)

    async def connect(self, peer: Address) -> ClientEvent:
        """What becomes of a connection to a peer."""
        self.core.connect(peer, time.monotonic())
        return await self.next()


class Caller:
    """An edge, and how its clients come to it."""

    def __init__(self, edge: EdgeNode, *, tls: bool = False) -> None:
        self.edge = edge
        self._port = edge.tls if tls else edge.tcp
        self._context = ssl.create_default_context(cafile=str(edge.folder / "tls" / "ca.pem")) if tls else None
        self._session = Session(USER, PASSWORD)
        self._writers: list[asyncio.StreamWriter] = []

    async def stream(self) -> StreamClient:
        """A new stream of the same user."""
        reader, writer = await asyncio.open_connection(HOST, self._port, ssl=self._context)
        self._writers.append(writer)
        return StreamClient(reader, writer, self._session)

    async def come_for(self, connection: ClientEvent) -> StreamClient:
        """The data connection of a connection that waits."""
        assert isinstance(connection, Connected), connection
        stream = await self.stream()
        stream.core.bind_connection(connection.number, time.monotonic())
        assert await stream.next() == ConnectionBound()
        return stream

    def close(self) -> None:
        """Closes all streams."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def calling(tmp_path: Path, *, tls: bool = False, **limits: int) -> AsyncIterator[Caller]:
    async with EdgeNode(tmp_path / "edge", advertised={"self_test": False}, limits=limits) as edge:
        caller = Caller(edge, tls=tls)
        try:
            yield caller
        finally:
            caller.close()


@asynccontextmanager
async def peer_that(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Address]:
    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield Address(HOST, server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ):
        writer.write(data)
        await writer.drain()
    writer.close()


async def exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    async with asyncio.timeout(20):
        return await reader.readexactly(size)


async def read_all(reader: asyncio.StreamReader, *, pause: float = 0.0) -> bytes:
    """Everything until the other end closes; ``pause``: seconds without reading, first."""
    await asyncio.sleep(pause)
    async with asyncio.timeout(20):
        return await reader.read()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_peer_is_dialled_and_streams_go_both_ways(tmp_path: Path, tls: bool) -> None:
    sources: list[Address] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sources.append(Address(*writer.get_extra_info("peername")[:2]))
        await echo(reader, writer)

    async with calling(tmp_path, tls=tls) as caller, peer_that(serve) as peer:
        client = await caller.stream()
        relayed = await client.allocate()
        data = await caller.come_for(await client.connect(peer))
        assert sources == [relayed]
        data.writer.write(LARGE)
        assert await data.exactly(len(LARGE)) == LARGE
        data.writer.close()
        client.core.release(time.monotonic())
        assert isinstance(await client.next(), Released)
        assert await caller.edge.metric("parley_relay_bytes_total", direction="sent") == len(LARGE)
        assert await caller.edge.metric("parley_relay_bytes_total", direction="received") == len(LARGE)


async def test_a_peer_connects_and_what_it_said_first_is_kept(tmp_path: Path) -> None:
    async with calling(tmp_path) as caller:
        client = await caller.stream()
        relayed = await client.allocate()
        await client.permit(HOST)
        reader, writer = await asyncio.open_connection(*relayed)
        writer.write(b"I was here first")
        offered = await client.next()
        assert isinstance(offered, Connected)
        assert offered.incoming
        assert offered.peer == Address(*writer.get_extra_info("sockname")[:2])
        data = await caller.come_for(offered)
        assert await data.exactly(16) == b"I was here first"
        data.writer.write(b"welcome")
        assert await exactly(reader, 7) == b"welcome"
        writer.close()
        assert await data.all() == b""


async def test_nothing_is_lost_on_a_slow_reader_and_the_sender_waits(tmp_path: Path) -> None:
    waited: list[bool] = []

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LARGE * 5)
        await asyncio.sleep(0.7)
        waited.append(writer.transport.get_write_buffer_size() > len(LARGE))
        writer.close()

    async with calling(tmp_path, buffer_bytes=65_536) as caller, peer_that(send) as peer:
        client = await caller.stream()
        await client.allocate()
        data = await caller.come_for(await client.connect(peer))
        assert await data.all(pause=1.0) == LARGE * 5
        assert waited == [True]


async def test_an_end_that_stops_sending_still_receives(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you said: " + await reader.read())
        writer.close()

    async with calling(tmp_path) as caller, peer_that(answer) as peer:
        client = await caller.stream()
        await client.allocate()
        data = await caller.come_for(await client.connect(peer))
        data.writer.write(b"a question")
        data.writer.write_eof()
        assert await data.all() == b"you said: a question"


async def test_the_end_of_an_allocation_is_the_end_of_its_connections(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        gone.set()
        writer.close()

    async with calling(tmp_path) as caller, peer_that(wait) as peer:
        client = await caller.stream()
        relayed = await client.allocate()
        data = await caller.come_for(await client.connect(peer))
        client.writer.close()
        assert await data.all() == b""
        async with asyncio.timeout(10):
            await gone.wait()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*relayed)


async def test_what_cannot_be_connected(tmp_path: Path) -> None:
    async with calling(tmp_path, connections_per_allocation=2) as caller, peer_that(echo) as one, peer_that(echo) as two:
        client = await caller.stream()
        relayed = await client.allocate()
        refused = await client.connect(Address(HOST, free_port()))
        assert isinstance(refused, Failed)
        assert refused.code == 447
        assert isinstance(await client.connect(one), Connected)
        again = await client.connect(one)
        assert isinstance(again, Failed)
        assert again.code == 446
        assert isinstance(await client.connect(two), Connected)
        third = await client.connect(Address(HOST, free_port()))
        assert isinstance(third, Failed)
        assert third.code == 508
        reader, writer = await asyncio.open_connection(*relayed)
        assert await read_all(reader) == b"", "a peer without permission is hung up"
        writer.close()
        assert await caller.edge.metric("parley_relay_dropped_total", cause="peer_connection") == 1


async def test_a_rate_holds_over_streams(tmp_path: Path) -> None:
    async with calling(tmp_path, bytes_per_second=200_000) as caller, peer_that(echo) as peer:
        client = await caller.stream()
        await client.allocate()
        data = await caller.come_for(await client.connect(peer))
        began = time.monotonic()
        data.writer.write(LARGE[:600_000])
        assert await data.exactly(600_000) == LARGE[:600_000]
        assert time.monotonic() - began > 1.0


class Hearing:
    """Decides about connections: hears of peers, and takes none."""

    def __init__(self) -> None:
        self.peers: list[Address] = []

    def accepted(self, allocation: Allocation, peer: Address, now: float) -> PeerConnection | None:
        self.peers.append(peer)
        return None

    def dialled(self, connection: PeerConnection, connected: bool, now: float) -> None:
        raise AssertionError("nothing was dialled")

    def disconnected(self, connection: PeerConnection) -> None:
        raise AssertionError("nothing was connected")


async def test_one_relay_of_two_is_given_back_and_the_other_serves_on() -> None:
    ports = PortPool({HOST: HOST, "::1": "::1"}, 49152, 65535)
    relays = tuple(ports.open(family, stream=True) for family in Family)
    hearing, tcp = Hearing(), TcpRelay(Carriers(), Own({}, range(1)), READ, time.monotonic)
    tcp.serve(hearing)
    flow = Flow(Transport.TCP, Address(HOST, 1), Address(HOST, 3478))
    allocation = Allocation(1, flow, Dialect.TURN, USER, b"", relays, 0.0, 600.0)
    for relay in relays:
        tcp.listen(allocation, relay)
    allocation.relays = relays[:1]
    tcp.ignore(allocation, relays[1])
    ports.close(relays[1])
    reader, writer = await asyncio.open_connection(*relays[0].local)
    assert await read_all(reader) == b""
    assert hearing.peers == [Address(*writer.get_extra_info("sockname")[:2])]
    writer.close()
    tcp.ignore(allocation, relays[0])
    ports.close(relays[0])
    tcp.close()
