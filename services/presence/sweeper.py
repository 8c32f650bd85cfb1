"""What expires: publications, subscriptions that nobody refreshed, calls whose front end is gone."""

from __future__ import annotations

from parley.platform.clock import Clock
from parley.platform.sweeping import CHUNK, ShardSweeper
from parley.presence.calls import end_call
from parley.presence.model import drop_expired
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.calls import CallCheck
from services.presence.changes import presence_event
from services.presence.notifier import Notifier
from services.presence.repository import PresenceRepository


class Sweeper(ShardSweeper[str]):
    """Looks at users and subscriptions."""

    def __init__(self, repository: PresenceRepository, notifier: Notifier, check: CallCheck, clock: Clock) -> None:
        super().__init__(clock)
        self._repository = repository
        self._notifier = notifier
        self._check = check

    async def due(self, shard: int, now_ms: int) -> list[str]:
        """See `parley.platform.sweeping.ShardSweeper`."""
        return await self._repository.due(shard, now_ms, CHUNK)

    async def deal_with(self, shard: int, found: str, now_ms: int) -> None:
        """See `parley.platform.sweeping.ShardSweeper`."""
        kind, _, rest = found.partition("|")
        if kind == "p":
            await self._look_at(shard, found, rest, now_ms)
        else:
            await self._end_subscription(shard, found, rest, now_ms)

    async def _look_at(self, shard: int, member: str, aor: str, now_ms: int) -> None:
        """Drops what of a user has expired."""
        known = await self._repository.presentity(aor)
        going_on = [call for call in known.calls if not call.ended]
        lost = await self._check.lost(going_on)

        def apply(state: pb.Presentity) -> tuple[bool, PresenceChanged | None]:
            ended = [call for call in state.calls if call.call_id in lost and end_call(call, "error", 0, now_ms)]
            gone = drop_expired(state, now_ms)
            if going_on and not ended and not gone:
                return False, None
            seen = {category for category, _, container in gone if container not in (1, 2, 3)}
            event = presence_event(state, {category for category, _, _ in gone}, seen, now_ms)
            event.calls = bool(ended)
            return True, event

        if not await self._repository.change(aor, apply):
            await self._repository.look_again(shard, member, self._repository.deadline_ms(known))

    async def _end_subscription(self, shard: int, member: str, rest: str, now_ms: int) -> None:
        watcher, _, subscription_id = rest.rpartition("|")
        subscription = await self._repository.subscription(watcher, subscription_id)
        if subscription is None:
            await self._repository.not_due(shard, member)
        elif subscription.expires_at_ms <= now_ms:
            await self._notifier.finish(subscription, "timeout")
