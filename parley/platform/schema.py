"""The version of what is stored, so that no process reads or writes data in a form that it does not know.

Redis holds one hash, ``parley:schema``, with the number of the version; none there means version 1, and the first process
that finds none writes it. A release knows two numbers: `WRITES`, the version that its processes write, and `READS_UP_TO`,
the newest that they understand. At start a process

- goes on when the version is one of ``WRITES`` to ``READS_UP_TO``;
- waits, not ready, while it is older: `parley init storage` (the chart's Job) brings the data up to ``WRITES`` first;
- refuses to start when it is newer: it would misread what newer processes wrote.

How a stored format is changed without a stop (expand, migrate, contract; one release each, and no release is left out of an
upgrade or of a rollback):

1. **Expand.** The release reads the new form beside the old one and still writes the old one: ``READS_UP_TO`` is raised,
   ``WRITES`` stays. From here on a process of this release may meet the next version.
2. **Migrate.** The next release raises ``WRITES``, and has a `Migration` that rewrites what is stored. While its pods roll
   out, pods of the release before still write the old form and may be started anew beside the new version, so this release
   reads both, whatever the version says. A rollback leads to the release of step 1, which reads both as well.
   ``READS_UP_TO`` is raised again: what step 3 leaves is only the new form.
3. **Contract.** Only the release after that may forget the old form. It raises ``WRITES`` once more; its `Migration` sweeps
   up what the old pods of step 2 wrote late, and the version then keeps processes of step 1 out.

A bundled Valkey serves one process alone, which migrates it at its start.

A migration runs in one process at a time. The lock is in the same hash and ends by itself: who has not told of progress for
`LEASE_S` has lost it, and whoever comes next goes on at the place that was saved last. So a migration must come to the same
end when a part of it is done twice, also by two processes for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from parley.platform.config import ConfigError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError, StoreUnavailable
from parley.platform.store.scripts import Script

WRITES: Final = 1
READS_UP_TO: Final = 1
KEY: Final = "parley:schema"
LEASE_S: Final = 30.0
_PAUSE_S: Final = 1.0

_VERSION = """
redis.call('HSETNX', KEYS[1], 'version', '1')
return redis.call('HGET', KEYS[1], 'version')
"""
# 0: taken; -1: the version is another one; else how long the lock still belongs to somebody else (ms).
_TAKE = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'version', 'owner', 'until')
if state[1] ~= ARGV[2] then return -1 end
if state[2] and state[2] ~= ARGV[1] and tonumber(state[3]) > now_ms then return tonumber(state[3]) - now_ms end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', now_ms + ARGV[3])
return 0
"""
_SAVE = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'until', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], 'cursor', ARGV[3], 'done', ARGV[4])
return 1
"""
_FINISH = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2])
redis.call('HDEL', KEYS[1], 'owner', 'until', 'cursor', 'done')
return 1
"""
_RELEASE = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'owner', 'until')
"""

Say = Callable[[str], None]
"""Takes a sentence for people."""


class SchemaRefused(ConfigError):
    """The store holds data that this release must not touch; no waiting helps."""

    def __init__(self, problem: str) -> None:
        super().__init__([problem])


class SchemaOlder(StoreUnavailable):
    """The store does not serve this release yet: its data has to be migrated first."""


class LockLost(Exception):
    """Another process has gone on with a migration that told of no progress for too long."""


@dataclass(frozen=True, slots=True)
class Migration:
    """Rewrites what is stored, from the version before ``to``."""

    to: int
    what: str
    """What changes, for people."""
    run: Callable[[Store, Progress], Awaitable[None]]
    """Raises StoreError, LockLost."""


class Progress:
    """How far a migration is; it is kept in Redis, so that another process can go on."""

    def __init__(self, cursor: str, done: int, save: Callable[[str, int], Awaitable[bool]]) -> None:
        self.cursor = cursor
        """What was saved last; "" at the beginning. What it means is the migration's business."""
        self.done = done
        """How much has been done, of earlier runs too."""
        self._save = save

    async def save(self, cursor: str, done: int) -> None:
        """Notes that all up to ``cursor`` is done, and keeps the lock. To be called every few seconds at least.

        Raises LockLost, and the migration has to end at once; StoreError.
        """
        if not await self._save(cursor, done):
            raise LockLost
        self.cursor, self.done = cursor, done


MIGRATIONS: Final[tuple[Migration, ...]] = ()
"""By version, each from the one before."""


class Schema:
    """The version of one store, as one process sees it."""

    def __init__(
        self, store: Store, *, writes: int = WRITES, reads_up_to: int = READS_UP_TO,
        migrations: Sequence[Migration] = MIGRATIONS, lease_s: float = LEASE_S, pause_s: float = _PAUSE_S,
    ) -> None:  # fmt: skip
        """``pause_s``: time between two looks while waiting; nothing is said more often than that."""
        self._store = store
        self._writes = writes
        self._reads_up_to = reads_up_to
        self._migrations = {migration.to: migration for migration in migrations}
        self._lease_ms = round(lease_s * 1000)
        self._pause_s = pause_s
        self._owner = token_hex(8)
        self._version = Script(store, "schema-version", _VERSION)
        self._take = Script(store, "schema-take", _TAKE)
        self._save = Script(store, "schema-save", _SAVE)
        self._finish = Script(store, "schema-finish", _FINISH)
        self._release = Script(store, "schema-release", _RELEASE)

    async def version(self) -> int:
        """The version of what is stored. Raises SchemaRefused for one that this release must not touch, StoreError."""
        text = (await self._version([KEY], [])).decode("utf-8", "replace")
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise SchemaRefused(
                f"the field version of {KEY} in Redis is {text[:20]!r}, which is no version of stored data: is this "
                "Parley's Redis? restore it from a backup"
            )
        version = int(text)
        if version > self._reads_up_to:
            raise SchemaRefused(
                f"the stored data is of version {version}, and this release reads up to version {self._reads_up_to}: "
                "a newer one has written it. Upgrade Parley again, or restore a backup of the time before that upgrade"
            )
        return version

    async def check(self) -> None:
        """Returns when this process can work with what is stored.

        Raises SchemaRefused when it never can, SchemaOlder when it can after a migration, StoreError.
        """
        version = await self.version()
        if version < self._writes:
            raise SchemaOlder(
                f"the stored data is of version {version}, this release writes version {self._writes}: "
                "`parley init storage` has to bring it up to date first (the chart's Job does; see how it fares)"
            )

    async def migrate(self, say: Say) -> int:
        """Brings the data up to the version that this release writes; the version it has then.

        Raises SchemaRefused, StoreError, and what a migration raises; run it again then, and it goes on.
        """
        while True:
            version = await self.version()
            if version >= self._writes:
                return version
            migration = self._migrations[version + 1]
            left_ms = await self._take([KEY], [self._owner, str(version), self._lease_ms])
            if left_ms < 0:
                continue
            if left_ms:
                say(f"another process brings the stored data up to version {migration.to}: {await self._done()} done")
                await asyncio.sleep(min(self._pause_s, left_ms / 1000))
                continue
            await self._run(migration, say)

    async def _run(self, migration: Migration, say: Say) -> None:
        say(f"bringing the stored data up to version {migration.to}: {migration.what}")
        cursor, done = await self._store.execute("HMGET", KEY, "cursor", "done")
        progress = Progress((cursor or b"").decode(), int(done or 0), self._saver(migration, say))
        try:
            await migration.run(self._store, progress)
            finished = await self._finish.durable([KEY], [self._owner, str(migration.to)])
        except LockLost:
            finished = 0
        except BaseException:
            await self._give_back()
            raise
        if finished:
            say(f"the stored data is of version {migration.to} now: {progress.done} done")
        else:
            say("another process goes on with it, as this one told of no progress for too long")

    def _saver(self, migration: Migration, say: Say) -> Callable[[str, int], Awaitable[bool]]:
        loop = asyncio.get_running_loop()
        told_at = loop.time()

        async def save(cursor: str, done: int) -> bool:
            nonlocal told_at
            if not await self._save([KEY], [self._owner, self._lease_ms, cursor, done]):
                return False
            if loop.time() - told_at >= self._pause_s:
                told_at = loop.time()
                say(f"version {migration.to}: {done} done")
            return True

        return save

    async def _done(self) -> int:
        return int(await self._store.execute("HGET", KEY, "done") or 0)

    async def _give_back(self) -> None:
        """Lets another go on at once; a store that is away lets it after the lease."""
        try:
            await self._release([KEY], [self._owner])
        except StoreError:
            return
