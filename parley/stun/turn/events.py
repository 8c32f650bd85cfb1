"""What a TURN client tells its user."""

from __future__ import annotations

from dataclasses import dataclass

from parley.stun.addresses import Address
from parley.stun.codes import ErrorCode


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """Something happened."""


@dataclass(frozen=True, slots=True)
class Mapped(ClientEvent):
    """The server sees this client at an address; ``origin``, ``other``: its own addresses if it tells them (RFC 5780)."""

    address: Address
    origin: Address | None = None
    other: Address | None = None


@dataclass(frozen=True, slots=True)
class Allocated(ClientEvent):
    """An allocation stands. ``token``: of the reserved port, empty for none; ``lifetime``: seconds."""

    relayed: tuple[Address, ...]
    mapped: Address | None
    lifetime: int
    token: bytes = b""


@dataclass(frozen=True, slots=True)
class Refreshed(ClientEvent):
    """The allocation lives on."""

    lifetime: int


@dataclass(frozen=True, slots=True)
class Released(ClientEvent):
    """The allocation is given back."""


@dataclass(frozen=True, slots=True)
class Permitted(ClientEvent):
    """These peer addresses may be reached."""

    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelBound(ClientEvent):
    """A channel stands for a peer."""

    number: int
    peer: Address


@dataclass(frozen=True, slots=True)
class Received(ClientEvent):
    """A peer sent something."""

    peer: Address
    payload: bytes


@dataclass(frozen=True, slots=True)
class Connected(ClientEvent):
    """The relay is connected to a peer, for the client to come for it (RFC 6062). ``incoming``: the peer called."""

    number: int
    peer: Address
    incoming: bool


@dataclass(frozen=True, slots=True)
class ConnectionBound(ClientEvent):
    """This stream is the peer's from now on."""


@dataclass(frozen=True, slots=True)
class Redirected(ClientEvent):
    """The server asks to take another one; ``domain``: the name to expect in its certificate, "" for none."""

    server: Address
    domain: str


@dataclass(frozen=True, slots=True)
class Failed(ClientEvent):
    """A request of that method failed. ``code``: None when no answer came."""

    method: int
    code: int | None
    reason: str

    def __str__(self) -> str:
        return "no answer came" if self.code is None else f"{self.code} {self.reason}"

    @property
    def is_permanent(self) -> bool:
        """Whether asking the same again is of no use."""
        return self.code in (
            ErrorCode.UNAUTHENTICATED,
            ErrorCode.FORBIDDEN,
            ErrorCode.UNSUPPORTED_TRANSPORT,
            ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED,
        )
