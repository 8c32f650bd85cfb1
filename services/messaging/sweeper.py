"""What is to be looked at: idle sessions end, mailboxes are tried again. Every process looks; twice does no harm."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.store.shards import SHARDS
from services.messaging.backlog import Backlog
from services.messaging.config import MessagingConfig
from services.messaging.conversations import Conversations
from services.messaging.mailbox import Mailbox
from services.messaging.repository import Deadlines, Sessions

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0
_CHUNK: Final = 100


class Sweeper:
    """Looks at all shards once an interval."""

    def __init__(
        self, config: MessagingConfig, deadlines: Deadlines, sessions: Sessions, conversations: Conversations,
        mailbox: Mailbox, backlog: Backlog, clock: Clock,
    ) -> None:  # fmt: skip
        self._config = config
        self._deadlines = deadlines
        self._sessions = sessions
        self._conversations = conversations
        self._mailbox = mailbox
        self._backlog = backlog
        self._clock = clock

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.sweep()
            except (StoreError, RpcError) as error:
                logger.info("what is due is looked at later: %s", error)

    async def sweep(self) -> None:
        """Deals with what is due now. Raises StoreError."""
        now_ms = int(self._clock.wall() * 1000)
        due = await asyncio.gather(*(self._deadlines.due(shard, now_ms, _CHUNK) for shard in range(SHARDS)))
        for shard, members in enumerate(due):
            for member in members:
                kind, _, rest = member.partition("|")
                if kind == "m":
                    await self._mailbox.look_again(rest, now_ms + int(self._config.retry_seconds * 1000))
                    self._backlog.look_soon(rest)
                else:
                    await self._end(shard, member, rest)

    async def _end(self, shard: int, member: str, rest: str) -> None:
        owner, _, session_id = rest.rpartition("|")
        session = await self._sessions.get(owner, session_id)
        if session is None:
            await self._deadlines.forget(shard, member)
        else:
            await self._conversations.end(session, "idle")
