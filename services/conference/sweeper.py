"""What is due: conferences that are over, participants that stayed away, subscriptions that nobody refreshed."""

from __future__ import annotations

from parley.conference.roster import Removed, drop_due
from parley.conference.uris import ConferenceName
from parley.platform.clock import Clock
from parley.platform.sweeping import CHUNK, ShardSweeper
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from services.conference.endings import Endings
from services.conference.repository import ConferenceRepository, Fact, Outcome


class Sweeper(ShardSweeper[ConferenceName]):
    """Looks at conferences."""

    def __init__(self, repository: ConferenceRepository, endings: Endings, clock: Clock, *, longest_ms: int) -> None:
        super().__init__(clock)
        self._repository = repository
        self._endings = endings
        self._longest_ms = longest_ms

    async def due(self, shard: int, now_ms: int) -> list[ConferenceName]:
        """See `parley.platform.sweeping.ShardSweeper`."""
        return await self._repository.due(shard, now_ms, CHUNK)

    async def deal_with(self, shard: int, found: ConferenceName, now_ms: int) -> None:
        """See `parley.platform.sweeping.ShardSweeper`."""
        name = found
        if await self._repository.conference(name) is None:
            gone = await self._repository.delete(name)
            if gone is not None:
                self._endings.all_of(gone, "booted")
            await self._repository.not_due(name)
            return

        def apply(conference: pb.Conference) -> Outcome[tuple[list[Removed], list[pb.Watcher]]]:
            removed, ended = drop_due(conference, now_ms, longest_ms=self._longest_ms)
            return (removed, ended), [Fact(ConferenceChanged.KIND_LEFT, (one.address,), one.reason) for one in removed]

        swept = await self._repository.change(name, apply)
        if swept is None:
            return
        removed, ended = swept
        self._endings.watchers(name, ended)
        for one in removed:
            await self._repository.note_left(one.address, name)
            self._endings.of(name, one)
