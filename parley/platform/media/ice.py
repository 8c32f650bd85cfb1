"""Drives an ICE agent: a UDP socket for each base, a timer, and the media between the checks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from parley.ice.agent import Agent
from parley.ice.candidates import Candidate
from parley.ice.credentials import Credentials
from parley.ice.events import Event
from parley.stun.addresses import Address


class IceTransport:
    """An agent on this event loop. Everything that changes the agent goes through here, so that what it says is sent.

    ``on_event``: told what has come about; ``on_media(component, data, source)``: told of every datagram that is no check.
    """

    def __init__(
        self, agent: Agent, on_event: Callable[[Event], None], on_media: Callable[[int, bytes, Address], None]
    ) -> None:
        self.agent = agent
        self._on_event = on_event
        self._on_media = on_media
        self._sockets: dict[Address, asyncio.DatagramTransport] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def open(self, hosts: Iterable[str], ports: Iterable[int] = (0,)) -> None:
        """Binds a socket of each component at each host, to the first ports that are free. Raises OSError."""
        choice = list(ports)
        try:
            for host in hosts:
                for component in range(1, self.agent.components + 1):
                    await self._bind(host, component, choice)
        except OSError:
            self.close()
            raise

    async def _bind(self, host: str, component: int, ports: list[int]) -> None:
        problem = OSError(f"no port is left at {host}")
        for port in ports:
            try:
                transport, protocol = await self._loop.create_datagram_endpoint(
                    lambda: _Socket(self, component), local_addr=(host, port)
                )
            except OSError as error:
                problem = error
                continue
            bound = transport.get_extra_info("sockname")
            protocol.base = Address(host, bound[1])
            self._sockets[protocol.base] = transport
            self.agent.add_local(component, protocol.base)
            return
        raise problem

    def gather(self, servers: Iterable[Address]) -> None:
        """Asks STUN servers."""
        self.agent.gather(servers, self._loop.time())
        self.pump()

    def allocate(self, server: Address, username: str, password: str) -> None:
        """Asks a TURN server for relays."""
        self.agent.allocate(server, username, password, self._loop.time())
        self.pump()

    def set_remote(
        self, credentials: Credentials | None, candidates: Iterable[Candidate], *, more: bool = False, lite: bool = False
    ) -> None:
        """What the peer's description says (`Agent.set_remote`)."""
        self.agent.set_remote(credentials, candidates, self._loop.time(), more=more, lite=lite)
        self.pump()

    def add_remote(self, candidate: Candidate | None) -> None:
        """A candidate that trickles in, or None for the end of them."""
        self.agent.add_remote(candidate, self._loop.time())
        self.pump()

    def choose(self, component: int, remote: Address) -> bool:
        """The peer has chosen (`Agent.choose`)."""
        found = self.agent.choose(component, remote, self._loop.time())
        self.pump()
        return found

    def restart(self, credentials: Credentials | None = None) -> None:
        """Begins anew (`Agent.restart`)."""
        self.agent.restart(credentials)
        self.pump()

    def send(self, component: int, data: bytes) -> bool:
        """Sends media over the selected pair; False while there is none."""
        selected = self.agent.selected(component)
        if selected is None or not self._sockets:
            return False
        transport = self._sockets.get(selected.base)
        if transport is not None:
            transport.sendto(data, tuple(selected.remote.address))
            return True
        sent = self.agent.send(component, data, self._loop.time())
        self.pump()
        return sent

    def received(self, component: int, base: Address, data: bytes, source: Address) -> None:
        """A datagram has come to a socket."""
        if self.agent.receive(data, base, source, self._loop.time()):
            self.pump()
        else:
            self._on_media(component, data, source)

    def pump(self) -> None:
        """Sends what the agent wants sent, tells what it tells, and sets the timer."""
        self._send_all()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.agent.deadline
        if deadline is not None and self._sockets:
            self._timer = self._loop.call_at(deadline, self._due)
        events, self.agent.events[:] = list(self.agent.events), []
        media, self.agent.media[:] = list(self.agent.media), []
        for event in events:
            self._on_event(event)
        for component, data, source in media:
            self._on_media(component, data, source)

    def _send_all(self) -> None:
        datagrams, self.agent.datagrams[:] = list(self.agent.datagrams), []
        for datagram in datagrams:
            transport = self._sockets.get(datagram.base)
            if transport is not None and not transport.is_closing():
                transport.sendto(datagram.data, tuple(datagram.remote))

    def _due(self) -> None:
        self._timer = None
        self.agent.handle_timer(self._loop.time())
        self.pump()

    def close(self) -> None:
        """Ends it, and gives relays back; the peer's consent runs out."""
        if self._sockets:
            self.agent.release(self._loop.time())
            self._send_all()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for transport in self._sockets.values():
            transport.close()
        self._sockets.clear()


class _Socket(asyncio.DatagramProtocol):
    """One base. ``base`` is known once it is bound."""

    def __init__(self, owner: IceTransport, component: int) -> None:
        self.base = Address("", 0)
        self._owner = owner
        self._component = component

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Hands it on; an address of IPv6 has two more parts."""
        self._owner.received(self._component, self.base, data, Address(addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """A peer that is not there yet answers with ICMP; checks are repeated anyway."""
