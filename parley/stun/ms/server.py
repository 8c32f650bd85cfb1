"""The MS-TURN server (MS-TURN section 3.2), without sockets; its allocations stand in one table with those of RFC TURN.

A client allocates, and refreshes and releases, with Allocate. It sends to a peer with Send, which permits the peer and is
never answered, and names one peer as its active destination, with which it then exchanges bare payload. An allocation lives
while packets pass: clients behind pseudo-TLS refresh theirs by nothing else.

A client on a stream gets a UDP relay port as one on UDP does, each frame of data being one packet. Clients advertise such
ports as UDP candidates; TCP candidates, for which the protocol has TCP ports, are not relayed.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable
from typing import Final, Protocol

from parley.stun.addresses import Address, Family, encode_address
from parley.stun.errors import StunError, StunParseError
from parley.stun.ms.codes import KNOWN, MsAttribute, MsErrorCode, MsType
from parley.stun.ms.credentials import MsCredentials
from parley.stun.ms.forwarding import read_send
from parley.stun.ms.integrity import integrity_is_right, integrity_key, protect
from parley.stun.ms.message import CONNECTION_ID_SIZE, MsMessage
from parley.stun.turn.allocations import Allocation, Dialect, Flow
from parley.stun.turn.config import Limiter, TurnConfig
from parley.stun.turn.forwarding import Outgoing, relay_to
from parley.stun.turn.nonces import Nonces
from parley.stun.turn.observer import CloseReason, Observer
from parley.stun.turn.plane import DataPlane, NoPortLeft, RelayPorts
from parley.stun.turn.table import AllocationTable, QuotaReached

VERSION: Final = 1
"""MS-VERSION: protection with SHA-1, IPv4 relays."""
BANDWIDTH_KBITS: Final = 750
PERMISSION_LIFETIME: Final = 7 * 86_400.0
"""Permissions have no end of their own in this dialect; this is longer than any allocation."""
_REPEAT_S: Final = 5.0
_MAX_REPEATS: Final = 10_000
_MAX_REALM: Final = 128


class MsShell(Protocol):
    """What this server needs of the sockets around it."""

    def transmit(self, allocation: Allocation, outgoing: Outgoing) -> None:
        """Sends the first packet to a peer, whose permission the plane has just been told of; it counts as relayed."""


class MsRefused(StunError):
    """A request gets an error. ``key``: of its protection when its sender is known; ``attributes`` go with it."""

    def __init__(self, code: MsErrorCode, key: bytes = b"", attributes: tuple[tuple[int, bytes], ...] = ()) -> None:
        super().__init__(code.reason)
        self.code = code
        self.key = key
        self.attributes = attributes


class _Caller:
    """Who made a request, as its protection proves."""

    __slots__ = ("expired", "key", "user", "username")

    def __init__(self, username: str, user: str, key: bytes, *, expired: bool) -> None:
        self.username = username
        self.user = user
        self.key = key
        self.expired = expired


class MsTurnServer:
    """Answers clients that speak MS-TURN, and keeps their allocations."""

    def __init__(
        self, config: TurnConfig, credentials: MsCredentials, ports: RelayPorts, plane: DataPlane, table: AllocationTable,
        observer: Observer, shell: MsShell, *, wall: Callable[[], float], challenges: Limiter,
    ) -> None:  # fmt: skip
        """``wall``: seconds since the Unix epoch; ``challenges``: answers to unknown senders, per address."""
        self._config = config
        self._credentials = credentials
        self._ports = ports
        self._plane = plane
        self._table = table
        self._observer = observer
        self._shell = shell
        self._wall = wall
        self._challenges = challenges
        self._nonces = Nonces(config.nonce_key, config.realm, lifetime=config.nonce_lifetime, features=0)
        self._draining = False
        self._alternate = ""
        self._answered: dict[tuple[Flow, bytes], tuple[float, bytes]] = {}

    def receive(self, flow: Flow, data: bytes, now: float) -> bytes | None:
        """The reply to one whole control message, without frame, None for none. ``now``: monotonic seconds."""
        try:
            request = MsMessage.parse(data)
        except StunParseError:
            self._observer.refused(flow, Dialect.MS_TURN, 0, 0)
            return None
        match request.kind:
            case MsType.SEND:
                self._send(flow, data, now)
                return None
            case MsType.ALLOCATE:
                return self._repeated(flow, request, now) or self._answer(self._allocate, flow, request, now)
            case MsType.SET_ACTIVE_DESTINATION:
                return self._answer(self._set_destination, flow, request, now)
            case _:
                self._observer.refused(flow, Dialect.MS_TURN, request.kind, 0)
                return None

    def closed(self, flow: Flow, now: float) -> None:
        """A stream is gone, and with it its allocation."""
        allocation = self._allocation(flow)
        if allocation is not None:
            self._table.close(allocation, CloseReason.DISCONNECTED)

    def drain(self, host: str = "") -> None:
        """New clients are sent to the same port of another server, or told that there is no room; allocations live on.

        ``host``: an IPv4 address, "" for none.
        """
        self._draining, self._alternate = True, host

    def resume(self) -> None:
        """The draining is called off."""
        self._draining, self._alternate = False, ""

    def _allocation(self, flow: Flow) -> Allocation | None:
        allocation = self._table.at(flow)
        return allocation if allocation is not None and allocation.dialect is Dialect.MS_TURN else None

    def _answer(
        self, handler: Callable[[Flow, MsMessage, float], bytes], flow: Flow, request: MsMessage, now: float
    ) -> bytes | None:
        try:
            return handler(flow, request, now)
        except MsRefused as error:
            refused = error
        except StunParseError:
            refused = MsRefused(MsErrorCode.BAD_REQUEST)
        if not refused.key and not self._challenges.allow(flow.client.host, now):
            self._observer.refused(flow, Dialect.MS_TURN, request.kind, 0)
            return None
        self._observer.refused(flow, Dialect.MS_TURN, request.kind, refused.code)
        response = request.error(refused.code)
        response.add_int(MsAttribute.MS_VERSION, VERSION)
        for kind, value in refused.attributes:
            response.add(kind, value)
        # Some clients believe no error without protection, but for those that ask them to authenticate.
        return protect(response, refused.key) if refused.key else bytes(response)

    def _repeated(self, flow: Flow, request: MsMessage, now: float) -> bytes | None:
        """What was answered to the same request a moment ago: its answer was lost."""
        answered = self._answered
        while answered:
            oldest = next(iter(answered))
            if answered[oldest][0] > now and len(answered) <= _MAX_REPEATS:
                break
            del answered[oldest]
        found = answered.get((flow, request.transaction_id))
        return found[1] if found is not None and request.integrity_at >= 0 else None

    def _allocate(self, flow: Flow, request: MsMessage, now: float) -> bytes:
        """A new allocation, a refresh or a release (MS-TURN sections 3.2.5.1 and 3.2.5.2)."""
        allocation = self._allocation(flow)
        caller = self._authenticate(flow, request, allocation)
        key = caller.key
        _check_known(request, key)
        try:
            asked = request.get_int(MsAttribute.LIFETIME)
            bandwidth = request.get_int(MsAttribute.BANDWIDTH)
        except StunParseError:
            raise MsRefused(MsErrorCode.BAD_REQUEST, key) from None
        if allocation is not None and allocation.username != caller.username:
            raise MsRefused(MsErrorCode.WRONG_USERNAME, key)
        if asked == 0:
            if allocation is None:
                raise MsRefused(MsErrorCode.NO_BINDING, key)
            self._table.close(allocation, CloseReason.RELEASED)
            response = request.success().add_int(MsAttribute.LIFETIME, 0).add_int(MsAttribute.MS_VERSION, VERSION)
            return self._remembered(flow, request, protect(response, key), now)
        default, longest = self._config.default_lifetime, self._config.max_lifetime
        lifetime = default if asked is None else min(max(asked, default), longest)
        if allocation is None:
            allocation = self._open(flow, caller, lifetime, now)
        else:
            self._table.refresh(allocation, lifetime, now)
        granted = allocation.rate * 8 // 1000 if allocation.rate else bandwidth or BANDWIDTH_KBITS
        response = request.success().add_address(MsAttribute.MAPPED_ADDRESS, allocation.relays[0].advertised)
        response.add_int(MsAttribute.LIFETIME, lifetime).add_int(MsAttribute.BANDWIDTH, granted)
        response.add_mapped_address(flow.client).add_int(MsAttribute.MS_VERSION, VERSION)
        response.add_sequence(allocation.connection_id, 0)
        return self._remembered(flow, request, protect(response, key), now)

    def _open(self, flow: Flow, caller: _Caller, lifetime: float, now: float) -> Allocation:
        key = caller.key
        if caller.expired:
            raise MsRefused(MsErrorCode.STALE_CREDENTIALS, key)
        if self._draining:
            if not self._alternate:
                raise MsRefused(MsErrorCode.INSUFFICIENT_PORT_CAPACITY, key)
            alternate = ((MsAttribute.ALTERNATE_SERVER, encode_address(Address(self._alternate, flow.server.port))),)
            raise MsRefused(MsErrorCode.TRY_ALTERNATE, key, alternate)
        if self._table.at(flow) is not None:  # the client speaks RFC TURN on this five-tuple
            raise MsRefused(MsErrorCode.BAD_REQUEST, key)
        try:
            self._table.check_room(caller.user, flow.client.host)
            relay = self._ports.open(Family.IPV4, stream=False)
        except QuotaReached:
            raise MsRefused(MsErrorCode.ALLOCATION_QUOTA_REACHED, key) from None
        except NoPortLeft:
            raise MsRefused(MsErrorCode.INSUFFICIENT_PORT_CAPACITY, key) from None
        return self._table.open(
            flow, Dialect.MS_TURN, username=caller.username, user=caller.user, key=key, relays=(relay,), now=now,
            lifetime=lifetime, kept_by_traffic=True, connection_id=secrets.token_bytes(CONNECTION_ID_SIZE),
        )  # fmt: skip

    def _set_destination(self, flow: Flow, request: MsMessage, now: float) -> bytes:
        """MS-TURN section 3.2.5.3. The destination before it stays permitted: what it still sends comes in indications."""
        allocation = self._allocation(flow)
        if request.integrity_at < 0:
            raise self._challenge(MsErrorCode.UNAUTHORIZED, flow)
        if allocation is None:
            raise MsRefused(MsErrorCode.NO_BINDING)
        key = allocation.key
        if not integrity_is_right(request, key):
            raise MsRefused(MsErrorCode.INTEGRITY_CHECK_FAILURE)
        username = request.get(MsAttribute.USERNAME)
        if username is not None and _text(username) != allocation.username:
            raise MsRefused(MsErrorCode.WRONG_USERNAME, key)
        _check_known(request, key)
        try:
            peer, sequence = request.get_address(MsAttribute.DESTINATION_ADDRESS), request.sequence
        except StunParseError:
            raise MsRefused(MsErrorCode.BAD_REQUEST, key) from None
        if peer is None or relay_to(allocation, peer.host) is None:
            raise MsRefused(MsErrorCode.BAD_REQUEST, key)
        if not self._permit(allocation, peer, now):
            raise MsRefused(MsErrorCode.FORBIDDEN, key)
        previous, allocation.destination = allocation.destination, peer
        self._plane.set_destination(allocation, previous)
        self._table.extend(allocation, allocation.lifetime, now)
        response = request.success()
        if sequence is not None:
            response.add_sequence(*sequence)
        return protect(response, key)

    def _send(self, flow: Flow, data: bytes, now: float) -> None:
        """A Send request that the plane did not take: it makes a permission. Nothing is ever answered to one."""
        allocation = self._allocation(flow)
        sent = read_send(data, allocation.key) if allocation is not None else None
        if allocation is None or sent is None:
            self._observer.refused(flow, Dialect.MS_TURN, MsType.SEND, 0)
            return
        relay = relay_to(allocation, sent.peer.host)
        if relay is None or not self._permit(allocation, sent.peer, now):
            self._observer.refused(flow, Dialect.MS_TURN, MsType.SEND, 0)
            return
        self._table.extend(allocation, allocation.lifetime, now)
        self._shell.transmit(allocation, (relay, sent.peer, sent.payload))

    def _permit(self, allocation: Allocation, peer: Address, now: float) -> bool:
        """Makes a permission; False when policy or quota are against it."""
        peers, limit = self._config.peers, self._table.quotas.permissions
        if not peers.allows(peer.host) or not peers.allows_port(*peer):
            return False
        if limit and peer.host not in allocation.permissions and len(allocation.permissions) >= limit:
            return False
        allocation.permissions[peer.host] = now + PERMISSION_LIFETIME
        self._plane.permit(allocation, peer.host)
        return True

    def _authenticate(self, flow: Flow, request: MsMessage, allocation: Allocation | None) -> _Caller:
        """Raises MsRefused."""
        if request.integrity_at < 0:
            raise self._challenge(MsErrorCode.UNAUTHORIZED, flow)
        username, realm = request.get(MsAttribute.USERNAME), request.get(MsAttribute.REALM)
        nonce = request.get(MsAttribute.NONCE)
        if username is None:
            raise self._challenge(MsErrorCode.MISSING_USERNAME, flow)
        if realm is None or len(realm) > _MAX_REALM or realm != self._config.realm.encode():
            raise self._challenge(MsErrorCode.MISSING_REALM, flow)
        if nonce is None:
            raise self._challenge(MsErrorCode.MISSING_NONCE, flow)
        if not self._nonces.is_good(nonce, flow.client.host, self._wall()):
            raise self._challenge(MsErrorCode.STALE_NONCE, flow)
        name = _text(username)
        if allocation is not None and allocation.username == name:
            caller = _Caller(name, allocation.user, allocation.key, expired=False)
        else:
            account = self._credentials.account_of(username, self._wall())
            if account is None:
                raise MsRefused(MsErrorCode.UNKNOWN_USERNAME)
            key = integrity_key(username, self._config.realm, account.password)
            caller = _Caller(name, account.user, key, expired=account.expired)
        if not integrity_is_right(request, caller.key):
            raise MsRefused(MsErrorCode.INTEGRITY_CHECK_FAILURE)
        return caller

    def _challenge(self, code: MsErrorCode, flow: Flow) -> MsRefused:
        # ALTERNATE-SERVER is left out: were it another address than the client used, as behind NAT, it would go there.
        nonce = self._nonces.issue(flow.client.host, self._wall())
        return MsRefused(code, b"", ((MsAttribute.NONCE, nonce), (MsAttribute.REALM, self._config.realm.encode())))

    def _remembered(self, flow: Flow, request: MsMessage, answer: bytes, now: float) -> bytes:
        self._answered[flow, request.transaction_id] = (now + _REPEAT_S, answer)
        return answer


def _check_known(request: MsMessage, key: bytes) -> None:
    unknown = request.unknown_attributes(KNOWN)
    if unknown:
        value = b"".join(kind.to_bytes(2, "big") for kind in unknown)
        raise MsRefused(MsErrorCode.UNKNOWN_ATTRIBUTE, key, ((MsAttribute.UNKNOWN_ATTRIBUTES, value),))


def _text(username: bytes) -> str:
    return b64encode(username).decode()
