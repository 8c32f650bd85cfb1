"""Entries in Redis. Every change is durable when it returns, and is one step with the index, the user and the events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry, Kind
from parley.addressbook.entry_json import as_written, from_json
from parley.addressbook.errors import AddressBookError, EntryError
from parley.platform.clock import Clock
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.proto.events.v1.user_pb2 import UserChanged
from services.addressbook.directory.keys import (
    BY_ADDRESS,
    IDS,
    PREFIX,
    entry_key,
    is_served_user,
    lookup_key,
    source_key,
)
from services.addressbook.directory.links import event_of, user_of_entry
from services.addressbook.directory.writing import (
    Absent,
    Conflict,
    EntryChange,
    EntryConflict,
    Exists,
    LoginTaken,
    Taken,
    UserChange,
    Writer,
)

logger = logging.getLogger(__name__)

_TRIES: Final = 5
_EXPORTED: Final = 500
_REMEMBERED: Final = 8_192
_SMALL: Final = 4_096
"""Bytes of the largest entries that are remembered."""

WriteProblem = Taken | LoginTaken | EntryConflict | EntryError | StoreError
"""Why an entry is not written."""


@dataclass(frozen=True, slots=True)
class Write:
    """An entry that is to be kept, or (None) removed."""

    id: UUID
    entry: Entry | None
    expect: int | None = None
    """Version that it has to have; 0 when it must not be there; None: whatever there is."""
    logins: tuple[str, ...] | None = None
    """Further login names of the user; None: as they are."""
    credentials: bytes | None = None
    """Sealed; of a user who has none."""
    picture: bytes | None = None
    """The one that ``entry.photo`` tells of; b"": none is kept any more, None: as it is."""


class EntryRepository:
    """The directory's view of the store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        domains: Iterable[str],
        servers: Collection[str],
        on_events: Callable[[], None] = lambda: None,
    ) -> None:
        """``domains``: whose users sign in here; ``servers``: the sources that are directory servers of the configuration;
        ``on_events`` is called when events wait.
        """
        self.servers = servers
        self._store = store
        self._clock = clock
        self._domains = frozenset(domain.lower() for domain in domains)
        self._writer = Writer(store)
        self._on_events = on_events

    async def get(self, id: UUID) -> Entry | None:
        """An entry. Raises StoreError, and EntryError for one that cannot be read."""
        (raw,) = await self._raw([id])
        try:
            return None if raw is None else parse(raw)
        except EntryError as error:
            text = f"the entry {id} cannot be read ({error.problem}); remove it, or import it again"
            raise EntryError(error.field, text) from None

    async def get_many(self, ids: Sequence[UUID]) -> list[Entry | None]:
        """Entries in the order of the ids, None for those that are not there. Raises StoreError.

        One that cannot be read is told of in the log and passed over, so that it takes nobody else along.
        """
        return [readable(str(id), raw) for id, raw in zip(ids, await self._raw(ids), strict=True)]

    async def as_kept(self, ids: Sequence[UUID]) -> list[Entry | None]:
        """Entries as they are kept, even such as cannot be read: for who replaces or removes them. Raises StoreError.

        Raises EntryError for those of a later version, which are to be left alone.
        """
        found = zip(ids, await self._raw(ids), strict=True)
        return [None if raw is None else parse_kept(id, raw) for id, raw in found]

    async def _raw(self, ids: Sequence[UUID]) -> list[bytes | None]:
        if not ids:
            return []
        found: list[bytes | None] = await self._store.execute("MGET", *map(entry_key, ids), key=PREFIX)
        return found

    async def ids_of(self, lookup: str, values: Sequence[str]) -> list[UUID | None]:
        """Who is known by some values, see `parley.addressbook.directory.keys`. Raises StoreError."""
        if not values:
            return []
        found = await self._store.execute("HMGET", lookup_key(lookup), *values)
        return [None if raw is None else UUID(raw.decode()) for raw in found]

    async def find(self, lookup: str, value: str) -> Entry | None:
        """The entry that is known by a value. Raises StoreError."""
        (id,) = await self.ids_of(lookup, [value])
        return await self.get(id) if id is not None else None

    async def page(self, after: UUID | None, count: int, source: str = "") -> list[UUID]:
        """UUIDs in their order, those behind ``after``; of one source, or all. Raises StoreError."""
        key = source_key(source) if source else IDS
        first = f"({after.hex}" if after is not None else "-"
        found = await self._store.execute("ZRANGE", key, first, "+", "BYLEX", "LIMIT", 0, count)
        return [UUID(raw.decode()) for raw in found]

    async def count(self, source: str = "") -> int:
        """How many entries there are. Raises StoreError."""
        return int(await self._store.execute("ZCARD", source_key(source) if source else IDS))

    async def export(self, source: str = "") -> AsyncIterator[Entry]:
        """All entries that can be read, as they are while they are read. Raises StoreError."""
        after: UUID | None = None
        while ids := await self.page(after, _EXPORTED, source):
            for entry in await self.get_many(ids):
                if entry is not None:
                    yield entry
            after = ids[-1]
            await asyncio.sleep(0)  # others get their turn

    async def other_logins(self, wanted: Sequence[tuple[Entry, tuple[str, ...] | None]]) -> list[tuple[str, ...] | None]:
        """For entries and the further login names that their users are to have (None: whatever they have): those that they
        have if these are others; None where nothing is to be changed. Raises StoreError.
        """
        asked = {entry.address for entry, logins in wanted if logins is not None and is_served_user(entry, self._domains)}
        users = await self._users(asked) if asked else {}
        found: list[tuple[str, ...] | None] = []
        for entry, logins in wanted:
            user = users.get(entry.address)
            now = tuple(user.login_names) if user is not None else ()
            differs = logins is not None and entry.address in asked and (user is None or now != logins)
            found.append(now if differs else None)
        return found

    # Changes

    async def put(
        self,
        entry: Entry,
        *,
        expect: int | None = None,
        logins: tuple[str, ...] | None = None,
        credentials: bytes | None = None,
        picture: bytes | None = None,
    ) -> Entry:
        """The entry as it is kept then. Raises EntryConflict, Taken, LoginTaken, EntryError, StoreError."""
        kept = await self._try(Write(entry.id, entry, expect, logins, credentials, picture))
        assert kept is not None, "what is put is there"
        return kept

    async def delete(self, id: UUID, *, expect: int | None = None) -> bool:
        """Whether there was one. Raises EntryConflict, EntryError (see `as_kept`), StoreError."""
        if (await self.as_kept([id])) == [None]:
            return False
        await self._try(Write(id, None, expect))
        return True

    async def write_many(
        self, writes: Sequence[Write], befores: Sequence[Entry | None]
    ) -> list[Entry | WriteProblem | None]:
        """What each is then (None: removed), or why it is not written; all side by side, so none may need another.

        ``befores``: what there is now. Raises StoreError.
        """
        pairs = list(zip(writes, befores, strict=True))
        users = await self._users({address for write, before in pairs for address in self._addresses(write, before)})
        outcomes = await asyncio.gather(
            *(self._one(write, before, users) for write, before in pairs), return_exceptions=True
        )
        results: list[Entry | WriteProblem | None] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, WriteProblem):
                raise outcome
            results.append(outcome)
        return results

    async def _one(self, write: Write, before: Entry | None, users: dict[str, User]) -> Entry | None:
        try:
            return await self._write(write, before, users)
        except (EntryConflict, Exists, Absent, Conflict):
            return await self._try(write)

    async def _try(self, write: Write) -> Entry | None:
        """Reads and writes; again when somebody else was faster."""
        for _ in range(_TRIES):
            (before,) = await self.as_kept([write.id])
            if write.expect is not None and write.expect != (before.version if before is not None else 0):
                raise EntryConflict
            users = await self._users(self._addresses(write, before))
            try:
                return await self._write(write, before, users)
            except (EntryConflict, Exists, Absent, Conflict):
                continue
        raise EntryConflict

    def _addresses(self, write: Write, before: Entry | None) -> set[str]:
        return {
            entry.address for entry in (write.entry, before) if entry is not None and is_served_user(entry, self._domains)
        }

    async def _users(self, addresses: set[str]) -> dict[str, User]:
        wanted = list(addresses)
        commands = [["HMGET", f"{PREFIX}u:{address}", "user", "version"] for address in wanted]
        users: dict[str, User] = {}
        for address, reply in zip(wanted, await self._store.pipeline(commands), strict=True):
            if isinstance(reply, StoreError):
                raise reply
            if reply[0] is not None:
                users[address] = User.FromString(reply[0])
                users[address].version = int(reply[1])
        return users

    async def _write(self, write: Write, before: Entry | None, users: dict[str, User]) -> Entry | None:
        entry, now_ms = write.entry, round(self._clock.wall() * 1000)
        if write.expect is not None and write.expect != (before.version if before is not None else 0):
            raise EntryConflict
        if entry is None and before is None:
            return None
        same = False
        if entry is not None:
            version = before.version if before is not None else 0
            if before is not None and write.picture is None:
                entry = replace(entry, photo=before.photo)  # it may have changed since the caller looked
            same = before is not None and write.picture is None and replace(entry, version=version) == before
            if same and write.credentials is None and write.logins is None:
                return before
            entry = replace(entry, version=version + 1)
        changes = self._changes(write, entry, before, users, now_ms)
        if same and not changes:
            return before
        await self._writer.write(changes, EntryChange(before, entry, now_ms, write.picture))
        self._on_events()
        return entry

    def _changes(
        self, write: Write, entry: Entry | None, before: Entry | None, users: dict[str, User], now_ms: int
    ) -> list[UserChange]:
        """What becomes of users who sign in."""
        changes = []
        had = before if before is not None and is_served_user(before, self._domains) else None
        has = entry if entry is not None and is_served_user(entry, self._domains) else None
        if had is not None and (has is None or has.address != had.address) and had.address in users:
            user = users[had.address]
            event = event_of(user, UserChanged.KIND_DELETED, now_ms)
            changes.append(UserChange(had.address, str(user.version), None, None, event))
        if has is not None:
            same = had if had is not None and had.address == has.address else None
            logins = write.logins
            if logins is None and same is None and had is not None and had.address in users:
                logins = tuple(users[had.address].login_names)
            change = user_of_entry(
                has, same, users.get(has.address), now_ms, logins=logins, credentials=write.credentials
            )  # fmt: skip
            if change is not None:
                changes.append(change)
        return changes

    async def adopt(self, addresses: Sequence[str], users: Sequence[User], entry_of: Callable[[User], Entry]) -> int:
        """Makes the entries of users that have none; how many. Raises StoreError."""
        known = await self.ids_of(BY_ADDRESS, addresses)
        made = 0
        for user, id in zip(users, known, strict=True):
            if id is None:
                try:
                    await self.put(entry_of(user), expect=0)
                except (AddressBookError, EntryConflict, Taken, LoginTaken):
                    continue  # somebody else was faster, or it cannot be an entry
                made += 1
        return made


def parse(raw: bytes) -> Entry:
    """An entry by what is kept of it. Raises EntryError."""
    # Groups may have some megabytes: remembering thousands of them would take all memory.
    return _remembered(raw) if len(raw) <= _SMALL else _parse(raw)


def readable(name: object, raw: bytes | None) -> Entry | None:
    """An entry by what is kept of it; None for nothing, and with a word in the log for what cannot be read."""
    try:
        return parse(raw) if raw else None
    except EntryError as error:
        logger.error("the entry %s is passed over: %s", name, error)
        return None


def parse_kept(id: UUID, raw: bytes) -> Entry:
    """An entry by what is kept of it, even if it should not have been; see `EntryRepository.as_kept`. Raises EntryError."""
    try:
        return parse(raw)
    except EntryError:
        pass
    try:
        return as_written(_json(raw))
    except EntryError as error:
        if error.field == "v":
            raise
    version = raw.partition(b"\n")[0]
    return Entry(id, Kind.CONTACT, version=int(version) if version.isdigit() else 0)


@lru_cache(maxsize=_REMEMBERED)
def _remembered(raw: bytes) -> Entry:
    return _parse(raw)


def _parse(raw: bytes) -> Entry:
    return from_json(_json(raw))


def _json(raw: bytes) -> bytes:
    version, _, content = raw.partition(b"\n")
    return content[:-1] + b',"version":' + version + b"}"
