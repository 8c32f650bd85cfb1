"""What a data plane is to the TURN server: it moves packets of the allocations it is told of, and asks nobody.

The server decides (who may allocate, which peers are allowed, for how long) and tells the plane. A plane forwards channel
data, Send indications, MS-TURN Send requests and raw payload to peers, and the peers' packets back, with the permissions and
channels it was told; everything else that a client sends it hands to the server.
"""

from __future__ import annotations

from typing import Protocol

from parley.stun.addresses import Address, Family
from parley.stun.errors import StunError
from parley.stun.turn.allocations import Allocation, Channel, Relay, Traffic


class NoPortLeft(StunError):
    """No relay port of that kind can be had."""


class RelayPorts(Protocol):
    """Where relay ports come from."""

    def open(self, family: Family, *, stream: bool, even: bool = False, port: int = 0) -> Relay:
        """Binds a port of the relay range. ``even``: of an even number; ``port``: that very one. Raises NoPortLeft."""

    def close(self, relay: Relay) -> None:
        """Gives a port back that no plane was told of."""


class DataPlane(Protocol):
    """Moves packets."""

    def open(self, allocation: Allocation) -> None:
        """Begins to move packets of a new allocation, which has no permission yet; the plane owns its relays from now on."""

    def permit(self, allocation: Allocation, host: str) -> None:
        """A permission is new or lasts longer: ``allocation.permissions[host]``."""

    def bind(self, allocation: Allocation, channel: Channel) -> None:
        """A channel is new or lasts longer."""

    def set_destination(self, allocation: Allocation, previous: Address | None) -> None:
        """``allocation.destination`` has changed (MS-TURN)."""

    def retire(self, allocation: Allocation, relay: Relay) -> None:
        """Closes one relay of two; it is in ``allocation.relays`` no more."""

    def traffic(self, allocation: Allocation) -> Traffic:
        """What has been moved so far."""

    def close(self, allocation: Allocation) -> None:
        """Ends it, leaves ``allocation.traffic`` as it is at the end, and closes its relays."""
