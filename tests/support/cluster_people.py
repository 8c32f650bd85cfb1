"""Phones of people who use an installation: where they are, whose they are, and many of them at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from secrets import token_hex
from typing import Any, TypeVar

from tests.support.attendee import Attendee
from tests.support.cluster import Cluster, CommandError
from tests.support.cluster_install import Installation
from tests.support.cluster_ledger import Ledger
from tests.support.cluster_phone import Phone
from tests.support.cluster_traffic import Load, Traffic
from tests.support.parley_server import PASSWORD
from tests.support.sip_client import SipClient
from tests.support.subscriber import Subscriber
from tools.cluster.settings import NAME

ClientT = TypeVar("ClientT", bound=SipClient)
MOST = 400
"""Users that tests may take."""
_PLACES = 12


@contextlib.contextmanager
def places(cluster: Cluster) -> Iterator[list[str]]:
    """Addresses of this machine to call from, as people do from several; one, "", where the cluster is not our own.

    A Service with source affinity sends all phones of one address to one pod.
    """
    if not cluster.own:
        yield [""]
        return
    addresses = [f"{cluster.settings.network}.{100 + number}" for number in range(_PLACES)]
    for address in addresses:
        with contextlib.suppress(CommandError):  # there already
            cluster.run("ip", "address", "add", f"{address}/32", "dev", NAME)
    try:
        yield addresses
    finally:
        for address in addresses:
            with contextlib.suppress(CommandError):  # gone with the cluster
                cluster.run("ip", "address", "delete", f"{address}/32", "dev", NAME)


@dataclass
class People:
    """Makes phones; every one is another user's unless it is told whose."""

    parley: Installation
    addresses: Sequence[str]
    names: Iterator[str]
    ledger: Ledger = field(default_factory=Ledger)

    def __post_init__(self) -> None:
        self._places = cycle(self.addresses)
        self._ports: dict[str, list[tuple[str, int]]] = {}

    def edges(self, transport: str, node: int = 0) -> list[tuple[str, int]]:
        """Where SIP is served over a transport; the ``node``-th node first."""
        if transport not in self._ports:
            self._ports[transport] = self.parley.edges(f"sip-{transport}")
        known = self._ports[transport]
        first = node % len(known)
        return [*known[first:], *known[:first]]

    def phone(self, transport: str = "udp", node: int = 0, *, user: str = "", only: bool = False, **options: Any) -> Phone:
        """A phone, not started yet. ``only``: it knows no other node."""
        edges = self.edges(transport, node)
        options = {"source": next(self._places), **options}
        return Phone(
            user or next(self.names), PASSWORD, edges[:1] if only else edges, self.ledger, transport=transport, **options
        )

    async def served(self, transport: str, node: int) -> None:
        """Returns once a node sends clients to its front end: that is ready a moment before."""
        first = self.phone(transport, node, only=True)
        await first.start()
        await first.end()

    async def client(self, transport: str = "tcp", node: int = 0, *, user: str = "") -> SipClient:
        """A phone whose every request a test makes, connected to one node."""
        return await self._connected(SipClient(user or next(self.names), PASSWORD, transport=transport), node)

    async def subscriber(self, transport: str = "tcp", node: int = 0, *, user: str = "") -> Subscriber:
        """A phone that subscribes, connected to one node."""
        return await self._connected(Subscriber(user or next(self.names), PASSWORD, transport=transport), node)

    async def attendee(self, node: int = 0) -> Attendee:
        """A Communicator that has signed in at one node."""
        host, port = self.edges("tcp", node)[0]
        return await Attendee(next(self.names), epid=token_hex(6)).join_in(port, host)

    async def _connected(self, client: ClientT, node: int) -> ClientT:
        host, port = self.edges(client.transport, node)[0]
        await client.connect(port, host)
        return client

    def traffic(self, load: Load | None = None, *, refresh: float = 5.0) -> Traffic:
        """People who call and write to each other, at both nodes."""
        callers = [self.phone(transport, node, refresh=refresh) for node, transport in enumerate(("udp", "tcp", "tls"))]
        callees = [self.phone(("tcp", "tls")[n % 2], n // 2, refresh=refresh) for n in range(4)]
        listeners = [self.phone("udp", node, refresh=refresh) for node in range(2)]
        return Traffic(callers, callees, listeners, self.ledger, load or Load())
