"""Server-reflexive candidates: a Binding request from each base to each STUN server (RFC 8445 section 5.1.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley.ice.events import Datagram
from parley.ice.transactions import Timing
from parley.stun.addresses import Address
from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.integrity import protect
from parley.stun.message import Message

MAX_SERVERS: Final = 4


@dataclass(slots=True)
class _Request:
    datagram: Datagram
    wait: float
    due_at: float
    sends_left: int


@dataclass(frozen=True, slots=True)
class Reflexive:
    """What a server saw: packets of ``base`` come from ``address``."""

    base: Address
    server: Address
    address: Address


class Gatherer:
    """The requests under way."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._requests: dict[bytes, _Request] = {}

    @property
    def is_busy(self) -> bool:
        """Whether an answer may still come."""
        return bool(self._requests)

    def ask(self, base: Address, server: Address, now: float) -> None:
        """Begins one; requests are spaced by the pace of checks."""
        message = Message(Method.BINDING, MessageClass.REQUEST)
        due_at = now + len(self._requests) * self._timing.pace
        datagram = Datagram(base, server, protect(message, fingerprint=True))
        timing = self._timing
        self._requests[message.transaction_id] = _Request(datagram, timing.first_wait / 2, due_at, timing.server_sends)

    def receive(self, data: bytes, base: Address, source: Address) -> Reflexive | bool:
        """What an answer says, or whether the datagram was one that says nothing."""
        request = self._requests.get(data[8:20])
        if request is None or request.datagram.base != base or request.datagram.remote != source:
            return False
        try:
            message = Message.parse(data)
            address = message.get_xor_address(Attribute.XOR_MAPPED_ADDRESS)
        except StunParseError:
            return True
        if message.message_class not in (MessageClass.SUCCESS, MessageClass.ERROR):
            return True
        del self._requests[message.transaction_id]
        if message.message_class is MessageClass.ERROR or address is None:
            return True
        return Reflexive(base, source, address)

    def due(self, now: float) -> list[Datagram]:
        """What is to be sent now; requests that were sent often enough are given up."""
        datagrams = []
        for transaction_id, request in list(self._requests.items()):
            if request.due_at > now:
                continue
            if request.sends_left == 0:
                del self._requests[transaction_id]
                continue
            request.sends_left -= 1
            request.wait *= 2
            request.due_at = now + request.wait
            datagrams.append(request.datagram)
        return datagrams

    @property
    def deadline(self) -> float | None:
        """When `due` has something."""
        return min((request.due_at for request in self._requests.values()), default=None)
