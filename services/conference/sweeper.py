"""What is due: conferences that are over, participants that stayed away, subscriptions that nobody refreshed.

Every process looks; doing it twice does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from parley.conference.roster import Removed, drop_due
from parley.conference.uris import ConferenceName
from parley.platform.store.errors import StoreError
from parley.platform.store.shards import SHARDS
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from services.conference.endings import Endings
from services.conference.repository import ConferenceRepository, Fact, Outcome

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0
_CHUNK: Final = 100


class Sweeper:
    """Looks at all shards once an interval."""

    def __init__(self, repository: ConferenceRepository, endings: Endings, *, longest_ms: int) -> None:
        self._repository = repository
        self._endings = endings
        self._longest_ms = longest_ms

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.sweep()
            except StoreError as error:
                logger.info("what is due is swept later: %s", error)

    async def sweep(self) -> None:
        """Ends what is due now. Raises StoreError."""
        now_ms = self._repository.now_ms()
        due = await asyncio.gather(*(self._repository.due(shard, now_ms, _CHUNK) for shard in range(SHARDS)))
        for names in due:
            for name in names:
                await self._sweep(name)

    async def _sweep(self, name: ConferenceName) -> None:
        if await self._repository.conference(name) is None:
            gone = await self._repository.delete(name)
            if gone is not None:
                self._endings.all_of(gone, "booted")
            await self._repository.not_due(name)
            return

        def apply(conference: pb.Conference) -> Outcome[tuple[list[Removed], list[pb.Watcher]]]:
            removed, ended = drop_due(conference, self._repository.now_ms(), longest_ms=self._longest_ms)
            return (removed, ended), [Fact(ConferenceChanged.KIND_LEFT, (one.address,), one.reason) for one in removed]

        swept = await self._repository.change(name, apply)
        if swept is None:
            return
        removed, ended = swept
        self._endings.watchers(name, ended)
        for one in removed:
            await self._repository.note_left(one.address, name)
            self._endings.of(name, one)
