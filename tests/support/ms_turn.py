"""A client of MS-TURN on real sockets."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from parley.stun.addresses import Address
from parley.stun.ms.client import Allocated, Carriage, DestinationSet, Event, MsTurnClient, PeerData

EventT = TypeVar("EventT", bound=Event)


class MsEndpoint(asyncio.DatagramProtocol):
    """One client; a context manager."""

    def __init__(self, server: Address, username: bytes, password: bytes, carriage: Carriage) -> None:
        self._server = server
        self._carriage = carriage
        self._core = MsTurnClient(username, password, carriage)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> MsEndpoint:
        if self._carriage is Carriage.DATAGRAMS:
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._server)
        else:
            reader, self._writer = await asyncio.open_connection(*self._server)
            self._reading = asyncio.create_task(self._read(reader))
        self._flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65_536):
            self._take(data)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        """See asyncio.DatagramProtocol."""
        self._take(data)

    def _take(self, data: bytes) -> None:
        for event in self._core.receive(data):
            self._events.put_nowait(event)
        self._flush()

    def _flush(self) -> None:
        for data in self._core.outgoing():
            if self._transport is not None:
                self._transport.sendto(data)
            elif self._writer is not None:
                self._writer.write(data)

    async def event(self) -> Event:
        """The next event."""
        async with asyncio.timeout(10):
            return await self._events.get()

    async def _expect(self, kind: type[EventT]) -> EventT:
        event = await self.event()
        assert isinstance(event, kind), event
        return event

    async def ask(self, lifetime: int | None = None) -> Event:
        """What becomes of an Allocate."""
        self._core.allocate(lifetime)
        self._flush()
        return await self.event()

    async def allocate(self) -> Address:
        """The relayed address."""
        event = await self.ask()
        assert isinstance(event, Allocated), event
        assert event.relay is not None
        return event.relay

    async def set_destination(self, peer: Address) -> None:
        """Makes a peer the active destination."""
        self._core.set_destination(peer)
        self._flush()
        assert await self._expect(DestinationSet) == DestinationSet(peer)

    def send(self, peer: Address, payload: bytes) -> None:
        """Sends to any peer."""
        self._core.send(peer, payload)
        self._flush()

    def send_bare(self, payload: bytes) -> None:
        """Sends to the active destination."""
        self._core.send_bare(payload)
        self._flush()

    async def packet(self) -> PeerData:
        """The next packet of a peer."""
        return await self._expect(PeerData)
