"""One request while it is worked on."""

from __future__ import annotations

from dataclasses import dataclass, field

from parley.stun.addresses import Address
from parley.stun.codes import Attribute, ErrorCode
from parley.stun.errors import StunError, StunParseError
from parley.stun.integrity import protect
from parley.stun.message import Message
from parley.stun.turn.allocations import Allocation, Flow


class Refused(StunError):
    """A request gets an error; ``attributes`` go with it."""

    def __init__(self, code: ErrorCode, reason: str | None = None, attributes: tuple[tuple[int, bytes], ...] = ()) -> None:
        super().__init__(reason or code.reason)
        self.code = code
        self.reason = reason
        self.attributes = attributes


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request, and how its answer is protected."""

    username: str
    user: str
    key: bytes = field(repr=False)
    sha256: bool = False


@dataclass(slots=True)
class Exchange:
    """A request whose caller is known. ``allocation``: that of its flow, if any; ``now``: monotonic seconds."""

    request: Message
    flow: Flow
    caller: Caller
    allocation: Allocation | None
    now: float

    def owned(self) -> Allocation:
        """The allocation of the flow. Raises Refused (437 when there is none, 441 when another user made it)."""
        allocation = self.allocation
        if allocation is None:
            raise Refused(ErrorCode.ALLOCATION_MISMATCH)
        if allocation.username != self.caller.username:
            raise Refused(ErrorCode.WRONG_CREDENTIALS)
        return allocation

    def peers(self) -> list[Address]:
        """The peers that are named, at least one. Raises Refused."""
        peers = self.request.get_xor_addresses(Attribute.XOR_PEER_ADDRESS)
        if not peers:
            raise Refused(ErrorCode.BAD_REQUEST, "No peer is named")
        return peers

    def seal(self, response: Message, software: str = "") -> bytes:
        """The bytes of a response to it."""
        if software:
            response.add(Attribute.SOFTWARE, software.encode())
        return protect(response, self.caller.key, sha256=self.caller.sha256, fingerprint=self.request.fingerprint_at >= 0)


def error_of(request: Message, refused: Refused) -> Message:
    """The error response that a refusal stands for."""
    response = request.error(refused.code, refused.reason)
    for kind, value in refused.attributes:
        response.add(kind, value)
    return response


def malformed(error: StunParseError) -> Refused:
    """An attribute that cannot be read."""
    return Refused(ErrorCode.BAD_REQUEST, str(error))


def unknown_attributes(kinds: list[int]) -> Refused:
    """Attributes that would have to be understood."""
    value = b"".join(kind.to_bytes(2, "big") for kind in kinds)
    return Refused(ErrorCode.UNKNOWN_ATTRIBUTE, attributes=((Attribute.UNKNOWN_ATTRIBUTES, value),))
