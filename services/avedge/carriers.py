"""What carries messages between the edge and one client: a UDP port, a DTLS association, a TCP connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from parley.stun.addresses import Address
from parley.stun.turn.allocations import Flow, Transport

Path = Callable[[bytes, float], bool]
"""Takes a message of a client with an allocation, and the monotonic time; False when it is no data."""


class Carrier(Protocol):
    """Reaches clients."""

    def sender(self, client: Address) -> Callable[[bytes], bool]:
        """A function that sends a message to a client; False when it was dropped."""

    def attach(self, client: Address, path: Path) -> None:
        """A client has an allocation: what it sends goes to ``path`` first."""

    def detach(self, client: Address) -> None:
        """It has none any more."""


class Carriers:
    """Finds the carrier of a flow."""

    def __init__(self) -> None:
        self._ports: dict[Address, Carrier] = {}
        self._associations: dict[Flow, Carrier] = {}

    def add_port(self, local: Address, carrier: Carrier) -> None:
        """A UDP port, which reaches every client that sends to it."""
        self._ports[local] = carrier

    def add(self, flow: Flow, carrier: Carrier) -> None:
        """A connection or association."""
        self._associations[flow] = carrier

    def remove(self, flow: Flow) -> None:
        """It is gone."""
        self._associations.pop(flow, None)

    def of(self, flow: Flow) -> Carrier | None:
        """Who reaches that client; None when the connection is gone."""
        return self._ports.get(flow.server) if flow.transport is Transport.UDP else self._associations.get(flow)

    def send(self, flow: Flow, data: bytes) -> bool:
        """Sends a message to a client."""
        carrier = self.of(flow)
        return carrier is not None and carrier.sender(flow.client)(data)
