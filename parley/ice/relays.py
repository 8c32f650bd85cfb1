"""Relayed candidates: allocations of ours at TURN servers, one for each base (RFC 8445 section 5.1.1.2, RFC 8656).

What a relay is to carry goes through its client, which wraps it. Peers that checks go to or come from are permitted in time
(RFC 8656 section 9); the peer that media goes to gets a channel.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from parley.ice.events import Datagram
from parley.stun.addresses import Address
from parley.stun.codes import Method
from parley.stun.turn.client import ChannelsUsedUp, TurnClient
from parley.stun.turn.events import Allocated, Failed, Received, Redirected
from parley.stun.turn.transactions import Session


@dataclass(frozen=True, slots=True)
class Relayed:
    """A server has opened a relay. ``mapped``: where it sees our base, if it says."""

    base: Address
    server: Address
    address: Address
    mapped: Address | None


@dataclass(frozen=True, slots=True)
class Carried:
    """What came from a peer over a relay of ours."""

    relay: Address
    peer: Address
    data: bytes


@dataclass(slots=True, eq=False)
class _Relay:
    base: Address
    server: Address
    client: TurnClient
    address: Address | None = None
    is_pending: bool = True
    permitted: set[str] = field(default_factory=set)
    expected: list[str] = field(default_factory=list)
    channels: set[Address] = field(default_factory=set)


class Relays:
    """The allocations of one agent."""

    def __init__(self) -> None:
        self._relays: list[_Relay] = []
        self._found: list[Relayed] = []

    @property
    def is_busy(self) -> bool:
        """Whether a server may still open one."""
        return any(relay.is_pending for relay in self._relays)

    def ask(self, base: Address, server: Address, username: str, password: str, now: float) -> None:
        """Asks a server for a relay, over UDP."""
        relay = _Relay(base, server, TurnClient(Session(username, password)))
        relay.client.allocate(now, family=base.family)
        self._relays.append(relay)

    def receive(self, data: bytes, base: Address, source: Address, now: float) -> list[Carried] | None:
        """A datagram that came to a base; None when it is not from one of its servers."""
        for relay in self._relays:
            if relay.base == base and relay.server == source and relay.client.receive(data, now):
                return self._happened(relay)
        return None

    def _happened(self, relay: _Relay) -> list[Carried]:
        carried = []
        for event in relay.client.take_events():
            if isinstance(event, Allocated):
                relay.address, relay.is_pending = event.relayed[0], False
                self._found.append(Relayed(relay.base, relay.server, relay.address, event.mapped))
            elif isinstance(event, Received) and relay.address is not None:
                carried.append(Carried(relay.address, event.peer, event.payload))
            elif isinstance(event, Redirected) or (isinstance(event, Failed) and event.method == Method.ALLOCATE):
                relay.is_pending = False
        return carried

    def take_found(self) -> list[Relayed]:
        """Relays that were opened since it was last asked."""
        found, self._found = self._found, []
        return found

    def expect(self, address: Address, host: str) -> None:
        """Has a host permitted at the relay of that address, with the next `due`."""
        for relay in self._relays:
            if relay.address == address and host not in relay.permitted:
                relay.permitted.add(host)
                relay.expected.append(host)

    def wrap(self, datagram: Datagram, now: float, *, media: bool = False) -> Datagram:
        """The datagram as it goes to the server, when its base is a relay of ours, else as it is."""
        relay = next((each for each in self._relays if each.address == datagram.base), None)
        if relay is None:
            return datagram
        peer = datagram.remote
        self.expect(datagram.base, peer.host)
        if media and peer not in relay.channels:
            relay.channels.add(peer)
            with contextlib.suppress(ChannelsUsedUp):  # it goes on without one
                relay.client.bind_channel(peer, now)
        return Datagram(relay.base, relay.server, relay.client.send(peer, datagram.data))

    def due(self, now: float) -> list[Datagram]:
        """What is to be sent to the servers now."""
        datagrams = []
        for relay in self._relays:
            for host in relay.expected:
                relay.client.permit([host], now)  # each alone, as a server refuses all of a request for one it denies
            relay.expected.clear()
            if relay.client.deadline <= now:
                relay.client.expire(now)
                self._happened(relay)
            datagrams += [Datagram(relay.base, relay.server, data) for data in relay.client.take_outgoing()]
        return datagrams

    def release(self, now: float) -> None:
        """Gives all relays back."""
        for relay in self._relays:
            if relay.address is not None:
                relay.client.release(now)
                relay.address = None

    @property
    def deadline(self) -> float | None:
        """When `due` has something."""
        at = min((relay.client.deadline for relay in self._relays), default=float("inf"))
        return None if at == float("inf") else at
