"""Allocate requests (RFC 8656 section 7.2, RFC 6062 section 5.1)."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from parley.stun.addresses import Address, Family, encode_address
from parley.stun.codes import Attribute, ErrorCode
from parley.stun.message import Message, encode_error
from parley.stun.turn.allocations import Allocation, Dialect, Flow, Relay
from parley.stun.turn.config import TurnConfig
from parley.stun.turn.exchange import Exchange, Refused, unknown_attributes
from parley.stun.turn.plane import NoPortLeft, RelayPorts
from parley.stun.turn.reservations import Reservations
from parley.stun.turn.table import AllocationTable, QuotaReached

UDP: Final = 17
TCP: Final = 6
_PAIR_TRIES: Final = 16
_ANSWERS_KEPT_S: Final = 40.0
_MAX_ANSWERS: Final = 20_000


@dataclass(slots=True)
class _Wish:
    """What an Allocate request asks for."""

    stream: bool
    families: list[Family]
    even: bool = False
    reserve: bool = False
    token: bytes | None = None
    whole: bool = False
    failed: list[tuple[Family, ErrorCode]] = field(default_factory=list)


class Alternates:
    """Where new clients are sent while this server drains; nowhere unless told."""

    def __init__(self) -> None:
        self.draining = False
        self._hosts: dict[Family, str] = {}
        self._domain = ""

    def drain(self, hosts: dict[Family, str], domain: str) -> None:
        """New clients go to these hosts, one of each family; ``domain``: the name in their certificates."""
        self.draining, self._hosts, self._domain = True, hosts, domain

    def resume(self) -> None:
        """New clients are welcome again."""
        self.draining, self._hosts, self._domain = False, {}, ""

    def refusal(self, flow: Flow) -> Refused:
        """What a new client is told: another server, on the port it used, or that there is no room."""
        host = self._hosts.get(flow.client.family)
        if host is None:
            return Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        alternate = ((Attribute.ALTERNATE_SERVER, encode_address(Address(host, flow.server.port))),)
        domain = ((Attribute.ALTERNATE_DOMAIN, self._domain.encode()),) if self._domain else ()
        return Refused(ErrorCode.TRY_ALTERNATE, attributes=(*alternate, *domain))


class Allocator:
    """Answers Allocate requests."""

    def __init__(
        self,
        config: TurnConfig,
        ports: RelayPorts,
        table: AllocationTable,
        reservations: Reservations,
        alternates: Alternates,
    ) -> None:
        self._config = config
        self._ports = ports
        self._table = table
        self._reservations = reservations
        self._alternates = alternates
        self._answers: dict[tuple[Flow, bytes], bytes] = {}
        self._answered: deque[tuple[float, tuple[Flow, bytes]]] = deque()

    def repeated(self, flow: Flow, request: Message, now: float) -> bytes | None:
        """The answer that was given to the same request, when it comes again in a datagram (RFC 8489 section 6.3.1)."""
        self._forget(now)
        return self._answers.get((flow, _digest(request)))

    def remember(self, flow: Flow, request: Message, answer: bytes, now: float) -> None:
        """Keeps the answer for the case that its datagram is lost."""
        if not flow.transport.is_stream:
            key = (flow, _digest(request))
            self._answers[key] = answer
            self._answered.append((now, key))

    def _forget(self, now: float) -> None:
        while self._answered and (self._answered[0][0] + _ANSWERS_KEPT_S <= now or len(self._answered) > _MAX_ANSWERS):
            del self._answers[self._answered.popleft()[1]]

    def allocate(self, exchange: Exchange) -> Message:
        """The response to a request that comes from its caller. Raises Refused."""
        if exchange.allocation is not None:
            raise Refused(ErrorCode.ALLOCATION_MISMATCH)
        if self._alternates.draining:
            raise self._alternates.refusal(exchange.flow)
        wish = self._read(exchange)
        lifetime = granted_lifetime(exchange.request, self._config)
        try:
            self._table.check_room(exchange.caller.user, exchange.flow.client.host)
        except QuotaReached as error:
            raise Refused(ErrorCode.ALLOCATION_QUOTA_REACHED) from error
        relays, reserved = self._open(wish, exchange.now)
        if wish.whole and not all(relay.dont_fragment for relay in relays):
            for relay in (*relays, *((reserved,) if reserved else ())):
                self._ports.close(relay)
            raise unknown_attributes([Attribute.DONT_FRAGMENT])
        caller = exchange.caller
        allocation = self._table.open(
            exchange.flow, Dialect.TURN, username=caller.username, user=caller.user, key=caller.key, relays=relays,
            now=exchange.now, lifetime=lifetime,
        )  # fmt: skip
        token = self._reservations.hold(reserved, exchange.now) if reserved else None
        return self._response(exchange, allocation, wish, token)

    def _read(self, exchange: Exchange) -> _Wish:
        request = exchange.request
        wish = _Wish(stream=self._stream(exchange), families=[])
        even = request.get_int(Attribute.EVEN_PORT, 1)
        wish.even, wish.reserve = even is not None, bool(even and even & 0x80)
        wish.token = request.get(Attribute.RESERVATION_TOKEN)
        wish.whole = request.get(Attribute.DONT_FRAGMENT) is not None
        family = request.get(Attribute.REQUESTED_ADDRESS_FAMILY)
        additional = request.get(Attribute.ADDITIONAL_ADDRESS_FAMILY)
        if wish.token is not None and (wish.even or family is not None or additional is not None or len(wish.token) != 8):
            raise Refused(ErrorCode.BAD_REQUEST)
        if wish.stream and (wish.even or wish.whole or wish.token is not None):
            raise Refused(ErrorCode.BAD_REQUEST)
        if additional is not None and (family is not None or wish.reserve or read_family(additional) is not Family.IPV6):
            raise Refused(ErrorCode.BAD_REQUEST)
        wish.families = [Family.IPV4 if family is None else read_family(family)]
        if additional is not None:
            wish.families.append(Family.IPV6)
        return wish

    def _stream(self, exchange: Exchange) -> bool:
        """Whether TCP is to be relayed."""
        value = exchange.request.get(Attribute.REQUESTED_TRANSPORT)
        if value is None or len(value) != 4:
            raise Refused(ErrorCode.BAD_REQUEST)
        if value[0] == TCP and self._config.tcp:
            if not exchange.flow.transport.is_stream:
                raise Refused(ErrorCode.BAD_REQUEST, "TCP is relayed for clients on TCP")
            return True
        if value[0] != UDP:
            raise Refused(ErrorCode.UNSUPPORTED_TRANSPORT)
        return False

    def _open(self, wish: _Wish, now: float) -> tuple[tuple[Relay, ...], Relay | None]:
        """The relays, and one to be reserved. Raises Refused, and then nothing is left open."""
        if wish.token is not None:
            relay = self._reservations.claim(wish.token, now)
            if relay is None:
                raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
            return (relay,), None
        relays: list[Relay] = []
        reserved: Relay | None = None
        for family in wish.families:
            try:
                if family not in self._config.families:
                    raise Refused(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED)
                if wish.reserve:
                    relay, reserved = self._open_pair(family)
                else:
                    relay = self._ports.open(family, stream=wish.stream, even=wish.even)
                relays.append(relay)
            except Refused as refused:
                wish.failed.append((family, refused.code))
            except NoPortLeft:
                wish.failed.append((family, ErrorCode.INSUFFICIENT_CAPACITY))
        if not relays:
            raise Refused(wish.failed[0][1])
        return tuple(relays), reserved

    def _open_pair(self, family: Family) -> tuple[Relay, Relay]:
        """An even port and the next one. Raises Refused when none are free side by side, and NoPortLeft."""
        if self._reservations.is_full:
            raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        for _ in range(_PAIR_TRIES):
            relay = self._ports.open(family, stream=False, even=True)
            try:
                return relay, self._ports.open(family, stream=False, port=relay.local.port + 1)
            except NoPortLeft:
                self._ports.close(relay)
        raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)

    def _response(self, exchange: Exchange, allocation: Allocation, wish: _Wish, token: bytes | None) -> Message:
        response = exchange.request.success()
        for relay in allocation.relays:
            response.add_xor_address(Attribute.XOR_RELAYED_ADDRESS, relay.advertised)
        for family, code in wish.failed:
            response.add(Attribute.ADDRESS_ERROR_CODE, bytes((family,)) + encode_error(code, code.reason)[1:])
        response.add_int(Attribute.LIFETIME, int(allocation.lifetime))
        if token is not None:
            response.add(Attribute.RESERVATION_TOKEN, token)
        return response.add_xor_address(Attribute.XOR_MAPPED_ADDRESS, exchange.flow.client)


def _digest(request: Message) -> bytes:
    """Stands for all bytes of a request, which may be many."""
    return hashlib.blake2s(request.raw, digest_size=16).digest()


def granted_lifetime(request: Message, config: TurnConfig) -> int:
    """Seconds that an allocation gets: what is asked for, but no less than the default and no more than the most."""
    asked = request.get_int(Attribute.LIFETIME)
    return config.default_lifetime if asked is None else max(config.default_lifetime, min(asked, config.max_lifetime))


def read_family(value: bytes) -> Family:
    """The value of REQUESTED-ADDRESS-FAMILY. Raises Refused (440 for a family nobody knows)."""
    if len(value) != 4:
        raise Refused(ErrorCode.BAD_REQUEST)
    try:
        return Family(value[0])
    except ValueError:
        raise Refused(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED) from None
