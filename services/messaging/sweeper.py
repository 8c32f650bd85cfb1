"""What is to be looked at: idle sessions end, mailboxes are tried again."""

from __future__ import annotations

from parley.platform.clock import Clock
from parley.platform.sweeping import CHUNK, ShardSweeper
from services.messaging.backlog import Backlog
from services.messaging.config import MessagingConfig
from services.messaging.conversations import Conversations
from services.messaging.mailbox import Mailbox
from services.messaging.repository import Deadlines, Sessions


class Sweeper(ShardSweeper[str]):
    """Looks at sessions and mailboxes."""

    def __init__(
        self, config: MessagingConfig, deadlines: Deadlines, sessions: Sessions, conversations: Conversations,
        mailbox: Mailbox, backlog: Backlog, clock: Clock,
    ) -> None:  # fmt: skip
        super().__init__(clock)
        self._config = config
        self._deadlines = deadlines
        self._sessions = sessions
        self._conversations = conversations
        self._mailbox = mailbox
        self._backlog = backlog

    async def due(self, shard: int, now_ms: int) -> list[str]:
        """See `parley.platform.sweeping.ShardSweeper`."""
        return await self._deadlines.due(shard, now_ms, CHUNK)

    async def deal_with(self, shard: int, found: str, now_ms: int) -> None:
        """See `parley.platform.sweeping.ShardSweeper`."""
        kind, _, rest = found.partition("|")
        if kind == "m":
            await self._mailbox.look_again(rest, now_ms + int(self._config.retry_seconds * 1000))
            self._backlog.look_soon(rest)
        else:
            await self._end(shard, found, rest)

    async def _end(self, shard: int, member: str, rest: str) -> None:
        owner, _, session_id = rest.rpartition("|")
        session = await self._sessions.get(owner, session_id)
        if session is None:
            await self._deadlines.forget(shard, member)
        else:
            await self._conversations.end(session, "idle")
