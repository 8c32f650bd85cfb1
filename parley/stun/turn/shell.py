"""What the servers of both dialects need of the sockets around them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from parley.stun.addresses import Address
from parley.stun.turn.allocations import Allocation, Flow, Relay


class PeerConnectionState(Enum):
    """How far a connection to a peer has come."""

    DIALLING = "dialling"
    WAITING = "waiting"
    """It stands, and the client has not yet come for it."""
    SPLICED = "spliced"


@dataclass(slots=True, eq=False)
class PeerConnection:
    """A TCP connection between a relay and a peer (RFC 6062).

    ``number``: 32 bits, the first 8 name the worker; ``deadline``: until when it must come one step further.
    """

    number: int
    allocation: Allocation
    relay: Relay
    peer: Address
    state: PeerConnectionState
    deadline: float


class Shell(Protocol):
    """Opens, writes to and closes sockets; none of these waits."""

    def send(self, flow: Flow, data: bytes) -> None:
        """Sends a control message to a client, from ``flow.server``, which may be another address than it used."""

    def dial(self, connection: PeerConnection) -> None:
        """Begins to connect the relay to the peer; `TurnServer.dialled` is called with the outcome."""

    def splice(self, connection: PeerConnection, flow: Flow) -> None:
        """What was sent to that flow so far goes out first; from then on it and the peer's connection are one stream.

        What the peer has sent meanwhile comes first. When either end is gone the other is closed, and
        `TurnServer.disconnected` is called.
        """

    def hang_up(self, connection: PeerConnection) -> None:
        """Closes the connection to the peer, or stops dialling, and closes the client's data connection with it."""
