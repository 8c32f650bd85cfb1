"""The calls of users, as the front ends tell of them, until these end them or are gone themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from parley.platform.applications.edges import EdgeAddresses
from parley.platform.clock import Clock
from parley.platform.events.api import Event
from parley.platform.rpc.channels import Channel
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.platform.telemetry.tracing import current_span
from parley.presence.calls import note_call, talks
from parley.proto.events.v1.call_pb2 import CallChanged
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb
from parley.proto.sip.v1.edge_pb2 import ListCallsRequest
from parley.proto.sip.v1.edge_pb2_grpc import EdgeStub
from services.presence.changes import presence_event
from services.presence.repository import PresenceRepository
from services.presence.users import Users

if TYPE_CHECKING:
    from parley.proto.sip.v1.edge_pb2_grpc import EdgeAsyncStub

logger = logging.getLogger(__name__)

_EDGE: Final = "parley.sip.v1.Edge"
_FRESH_S: Final = 5.0
_GRACE_S: Final = 10.0
"""How long a front end may hold no lease before its calls are lost: a registrar that starts anew learns of it by then."""
_UNUSED_S: Final = 600.0
"""When nobody has asked a front end for that long, what is kept of it is dropped."""


class Calls:
    """Keeps the calls of presentities."""

    def __init__(self, repository: PresenceRepository, users: Users, clock: Clock) -> None:
        self._repository = repository
        self._users = users
        self._clock = clock

    async def on_call_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.calls``. Raises StoreError: the event comes again."""
        changed: CallChanged = event.message
        if changed.voice:
            await self._note(changed.from_aor, changed, outgoing=True)
            if changed.kind != CallChanged.KIND_STARTED:  # no phone of the callee rings yet
                await self._note(changed.to_aor, changed, outgoing=False)

    async def _note(self, aor: str, changed: CallChanged, *, outgoing: bool) -> None:
        def apply(state: pb.Presentity) -> tuple[None, PresenceChanged | None]:
            talked = talks(state)
            if not note_call(state, changed, outgoing=outgoing):
                return None, None
            return None, calls_event(state, talked, int(self._clock.wall() * 1000))

        if await self._is_user(aor):
            await self._repository.change(aor, apply, current_span().traceparent)

    async def _is_user(self, aor: str) -> bool:
        if not aor.startswith("sip:"):
            return False
        try:
            return await self._users.name_of(aor) is not None
        except RpcError:
            return True  # the address book is away, and most calls are between users


def calls_event(state: pb.Presentity, talked: bool, now_ms: int) -> PresenceChanged:
    """The event of a change of calls; ``talked``: whether the user was in a call before."""
    if talks(state) == talked:
        event = PresenceChanged(aor=state.address, at_ms=now_ms, availability=state.availability, activity=state.activity)
    else:
        event = presence_event(state, set(), set(), now_ms)
    event.calls = True
    return event


@dataclass(slots=True)
class _Way:
    """How a front end is asked."""

    channel: Channel
    stub: EdgeAsyncStub
    used_at: float


class CallCheck:
    """Whether the front ends still carry the calls that they told of."""

    def __init__(self, rpc: RpcHost, addresses: EdgeAddresses, clock: Clock, *, timeout_s: float = 2.0) -> None:
        self._rpc = rpc
        self._addresses = addresses
        self._clock = clock
        self._timeout_s = timeout_s
        self._carried: dict[str, tuple[float, frozenset[str]]] = {}
        self._missing_since: dict[str, float] = {}
        self._ways: dict[str, _Way] = {}
        """By address: the host keeps every channel that it makes."""

    async def lost(self, calls: Iterable[pb.Call]) -> set[str]:
        """The Call-IDs of those that no front end carries any more; not of those whose front end cannot be asked."""
        found = set()
        for call in calls:
            carried = await self._carried_by(call.edge_uid)
            if carried is not None and call.call_id not in carried:
                found.add(call.call_id)
        return found

    async def _carried_by(self, edge_uid: str) -> frozenset[str] | None:
        now = self._clock.monotonic()
        read_at, carried = self._carried.get(edge_uid, (float("-inf"), frozenset[str]()))
        if now - read_at < _FRESH_S:
            return carried
        try:
            address = await self._addresses.of(edge_uid)
            if not address:
                return frozenset() if now - self._missing_since.setdefault(edge_uid, now) >= _GRACE_S else None
            self._missing_since.pop(edge_uid, None)
            answer = await self._way(address, now).stub.ListCalls(ListCallsRequest(), timeout=self._timeout_s)
        except RpcError as error:
            logger.info("the front end %s cannot be asked for its calls: %s", edge_uid, error)
            return None
        carried = frozenset(call.call_id for call in answer.calls)
        self._carried[edge_uid] = (now, carried)
        await self._drop_unused(now)
        return carried

    def _way(self, address: str, now: float) -> _Way:
        way = self._ways.get(address)
        if way is None:
            channel = self._rpc.channel(_EDGE, address)
            way = self._ways[address] = _Way(channel, channel.stub(EdgeStub), now)
        way.used_at = now
        return way

    async def _drop_unused(self, now: float) -> None:
        """Forgets front ends that are not asked any more: each that starts has a name and an address of its own."""
        before = now - _UNUSED_S
        self._carried = {uid: known for uid, known in self._carried.items() if known[0] > before}
        self._missing_since = {uid: since for uid, since in self._missing_since.items() if since > before}
        unused = [address for address, way in self._ways.items() if way.used_at <= before]
        for channel in [self._ways.pop(address).channel for address in unused]:
            await channel.close()
