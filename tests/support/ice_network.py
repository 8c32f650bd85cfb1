"""A network in memory for ICE agents: it delays, loses and reorders, has NATs, and runs on a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

from parley.ice.agent import Agent
from parley.ice.candidates import Candidate
from parley.ice.events import Datagram, Event
from parley.ice.lite import LiteAgent
from parley.stun.addresses import Address
from parley.stun.codes import Attribute
from parley.stun.message import Message
from parley.stun.turn import forwarding
from parley.stun.turn.allocations import Flow, Transport
from tests.support.turn import SERVER, Rig

LIMIT = 20_000
_CHANNEL_DATA = range(0x40, 0x80)


class Nat:
    """Gives each inside address one outside address, and lets in only who was sent to (address and port restricted)."""

    def __init__(self, outside: str) -> None:
        self.outside = outside
        self._out: dict[Address, Address] = {}
        self._in: dict[Address, Address] = {}
        self._allowed: set[tuple[Address, Address]] = set()

    def leave(self, source: Address, target: Address) -> Address:
        if source not in self._out:
            mapped = Address(self.outside, 20_000 + len(self._out))
            self._out[source], self._in[mapped] = mapped, source
        self._allowed.add((self._out[source], target))
        return self._out[source]

    def enter(self, source: Address, target: Address) -> Address | None:
        return self._in.get(target) if (target, source) in self._allowed else None


class Network:
    """Agents on it are known by the addresses of their bases."""

    def __init__(self, seed: int = 0, loss: float = 0.0, delay: tuple[float, float] = (0.01, 0.01)) -> None:
        self.now = 0.0
        self.loss = loss
        self.cut: set[frozenset[str]] = set()
        self.log: dict[Any, list[Event]] = {}
        self.sent: list[Datagram] = []
        self._random = random.Random(seed)
        self._delay = delay
        self._agents: dict[Address, Agent | LiteAgent] = {}
        self._nats: dict[str, Nat] = {}
        self._servers: set[Address] = set()
        self._turn: Rig | None = None
        self._queue: list[tuple[float, int, Address, Address, bytes]] = []
        self._count = itertools.count()

    def attach(self, agent: Agent | LiteAgent, *hosts: str, nat: Nat | None = None, first_port: int = 5000) -> None:
        """Gives an agent bases at these hosts, one port for each component."""
        self.log[agent] = []
        for host in hosts:
            for component in range(1, agent.components + 1):
                address = Address(host, first_port + component - 1)
                agent.add_local(component, address)
                self._agents[address] = agent
            if nat is not None:
                self._nats[host] = nat

    def stun_server(self, address: Address) -> None:
        self._servers.add(address)

    def turn_server(self, rig: Rig) -> None:
        """Puts a TURN server at ``tests.support.turn.SERVER``; its relays reach one another and every agent."""
        self._turn = rig

    def run(self, until: float | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        """Runs until a time, or until something holds, or nothing is left to do."""
        for _ in range(LIMIT):
            self._flush()
            if stop():
                return
            times = [at for agent in self.log if isinstance(agent, Agent) and (at := agent.deadline) is not None]
            times += [self._queue[0][0]] if self._queue else []
            if not times or (until is not None and min(times) > until):
                self.now = max(self.now, until or self.now)
                return
            self.now = max(self.now, min(times))
            while self._queue and self._queue[0][0] <= self.now:
                _, _, source, target, data = heapq.heappop(self._queue)
                self._arrive(source, target, data)
            for agent in self.log:
                if isinstance(agent, Agent) and (at := agent.deadline) is not None and at <= self.now:
                    agent.handle_timer(self.now)
        raise AssertionError("the agents never come to rest")

    def _flush(self) -> None:
        for agent in self.log:
            self.log[agent] += agent.events
            agent.events.clear()
            datagrams, agent.datagrams[:] = list(agent.datagrams), []
            for datagram in datagrams:
                self.sent.append(datagram)
                self._send(datagram.base, datagram.remote, datagram.data)

    def _send(self, source: Address, target: Address, data: bytes) -> None:
        nat = self._nats.get(source.host)
        if nat is not None:
            source = nat.leave(source, target)
        if self._random.random() >= self.loss and frozenset((source.host, target.host)) not in self.cut:
            at = self.now + self._random.uniform(*self._delay)
            heapq.heappush(self._queue, (at, next(self._count), source, target, data))

    def _arrive(self, source: Address, target: Address, data: bytes) -> None:
        if target == SERVER and self._turn is not None:
            self._serve_turn(self._turn, source, data)
            return
        if target in self._servers:
            request = Message.parse(data)
            self._send(target, source, bytes(request.success().add_xor_address(Attribute.XOR_MAPPED_ADDRESS, source)))
            return
        for nat in self._nats.values():
            if target.host == nat.outside:
                inside = nat.enter(source, target)
                if inside is None:
                    return
                target = inside
                break
        agent = self._agents.get(target)
        if isinstance(agent, Agent):
            assert agent.receive(data, target, source, self.now)
        elif agent is not None:
            assert agent.receive(data, target, source)

    def _serve_turn(self, rig: Rig, source: Address, data: bytes) -> None:
        rig.now = rig.began + self.now
        allocation = rig.table.at(Flow(Transport.UDP, source, SERVER))
        is_channel_data = data[0] in _CHANNEL_DATA
        if allocation is None or not (is_channel_data or data[:2] == forwarding.SEND_INDICATION):
            reply = rig.server.receive(Flow(Transport.UDP, source, SERVER), data, rig.now)
            if reply is not None:
                self._send(SERVER, source, reply)
            return
        if is_channel_data:
            outgoing = forwarding.from_channel(allocation, data, rig.now)
        else:
            outgoing = forwarding.from_indication(allocation, data, rig.config.peers, rig.now)
        if outgoing is None:
            return
        relay, peer, payload = outgoing
        for other in rig.table:
            if any(each.advertised == peer for each in other.relays):
                carried = forwarding.to_client(other, relay.advertised, bytes(payload), rig.now, padded=False)
                if carried is not None:
                    self._send(SERVER, other.flow.client, carried)
                return
        self._send(relay.advertised, peer, bytes(payload))


def signalled(agent: Agent | LiteAgent) -> list[Candidate]:
    """Its candidates as the other side reads them."""
    return list(agent.local_candidates)


def agree(left: Agent | LiteAgent, right: Agent | LiteAgent, nats: tuple[Nat, ...] = ()) -> None:
    """Both send over the same pair of each component."""
    for component in range(1, left.components + 1):
        ours, theirs = left.selected(component), right.selected(component)
        assert ours is not None, component
        assert theirs is not None, component
        assert _seen(ours.base, theirs.remote.address, nats), (ours, theirs)
        assert _seen(theirs.base, ours.remote.address, nats), (ours, theirs)


def _seen(base: Address, address: Address, nats: tuple[Nat, ...]) -> bool:
    return base == address or any(nat._in.get(address) == base for nat in nats)
