"""Users in Redis. Every change is durable when it returns, and writes its event in the same step.

All keys share one hash tag: logins are unique among all users, so they are checked where they are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

from parley.addressbook.entries import Kind
from parley.platform.outbox import Record, event_decoder
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.proto.events.v1.directory_pb2 import EntryChanged
from parley.proto.events.v1.user_pb2 import UserChanged
from services.addressbook.directory.keys import BY_ADDRESS, PREFIX, entry_key, lookup_key
from services.addressbook.directory.links import entry_of_user, follows
from services.addressbook.directory.repository import parse_kept
from services.addressbook.directory.writing import TOPIC as DIRECTORY_TOPIC
from services.addressbook.directory.writing import (
    USERS_OUTBOX,
    USERS_TOPIC,
    Absent,
    Conflict,
    EntryChange,
    EntryConflict,
    Exists,
    KeptElsewhere,
    LoginTaken,
    Taken,
    UserChange,
    Writer,
)

__all__ = [
    "Absent", "Conflict", "Exists", "KeptElsewhere", "LoginTaken", "StoredUser", "UserRepository", "decode_event",
    "with_passwords",
]  # fmt: skip

TOPIC: Final = USERS_TOPIC
_PREFIX: Final = PREFIX
OUTBOX: Final = USERS_OUTBOX
_PACKED: Final = (f"{DIRECTORY_TOPIC}\n".encode(), f"{TOPIC}\n".encode())
_decode_packed: Final = event_decoder({DIRECTORY_TOPIC: EntryChanged, TOPIC: UserChanged})
_TRIES: Final = 5
_LOGINS: Final = _PREFIX + "logins"
_INDEX: Final = _PREFIX + "index"


def user_key(address: str) -> str:
    """Where a user is kept."""
    return f"{_PREFIX}u:{address}"


def certificates_key(address: str) -> str:
    """Where the certificates of a user are kept."""
    return f"{_PREFIX}c:{address}"


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user and the sealed credentials."""

    user: User
    credentials: bytes


class UserRepository:
    """The address book's view of the store."""

    def __init__(self, store: Store, servers: Collection[str]) -> None:
        """``servers``: the sources that are directory servers of the configuration, which alone change their entries."""
        self._servers = servers
        self._store = store
        self._writer = Writer(store)

    async def get(self, address: str) -> StoredUser | None:
        """A user by address. Raises StoreError."""
        (found,) = await self.get_many([address])
        if isinstance(found, StoreError):
            raise found
        return found

    async def get_many(self, addresses: Sequence[str]) -> list[StoredUser | StoreError | None]:
        """Users by address, in one round trip."""
        commands = [["HMGET", user_key(address), "user", "version", "credentials"] for address in addresses]
        results: list[StoredUser | StoreError | None] = []
        for reply in await self._store.pipeline(commands):
            if isinstance(reply, StoreError):
                results.append(reply)
            elif reply[0] is None:
                results.append(None)
            else:
                user = User.FromString(reply[0])
                user.version = int(reply[1])
                results.append(StoredUser(user, reply[2] or b""))
        return results

    async def addresses_of(self, keys: Sequence[str]) -> list[str | None]:
        """Addresses by login key. Raises StoreError."""
        found = await self._store.execute("HMGET", _LOGINS, *keys)
        return [None if value is None else value.decode() for value in found]

    async def create(self, user: User, credentials: bytes, event: UserChanged) -> int:
        """The version of the user. Raises Exists, Conflict, KeptElsewhere, LoginTaken, EntryError, StoreError."""
        await self._write(user.address, "0", user, credentials, event)
        return event.version

    async def update(self, user: User, credentials: bytes | None, event: UserChanged) -> None:
        """``user.version`` is the one that was read. Raises Absent, Conflict, LoginTaken, KeptElsewhere, StoreError."""
        await self._write(user.address, str(user.version), user, credentials, event)

    async def delete(self, address: str, event: UserChanged, version: int | None = None) -> None:
        """``version``: the one it must have. Raises Absent, Conflict, KeptElsewhere, StoreError."""
        await self._write(address, "*" if version is None else str(version), None, None, event)

    async def _write(
        self, address: str, version: str, user: User | None, credentials: bytes | None, event: UserChanged
    ) -> None:
        """The user, and the entry that belongs to the user, in one step."""
        users = [UserChange(address, version, user, credentials, event)]
        for _ in range(_TRIES):
            try:
                await self._writer.write(users, await self._entry(address, user, event))
            except (EntryConflict, Taken):
                continue
            return
        raise Conflict

    async def _entry(self, address: str, user: User | None, event: UserChanged) -> EntryChange | None:
        """What becomes of the entry with the user's address; None when nothing does."""
        found = await self._store.execute("HGET", lookup_key(BY_ADDRESS), address)
        id = UUID(found.decode()) if found is not None else None
        raw = await self._store.execute("GET", entry_key(id)) if id is not None else None
        before = parse_kept(id, raw) if id is not None and raw is not None else None
        if before is not None and before.kind is not Kind.USER:
            raise Exists
        if before is not None and before.origin.source in self._servers:
            if user is None or not follows(user, before):
                raise KeptElsewhere(before.origin.source)
            return None
        if user is None:
            return EntryChange(before, None, event.at_ms) if before is not None else None
        after = entry_of_user(user, before)
        if before is None:
            # One of that UUID may be there with another address: it was made from this one once.
            raw = await self._store.execute("GET", entry_key(after.id))
            if raw is not None:
                after = replace(after, id=uuid4())
        elif after == before:
            return None
        return EntryChange(before, after, event.at_ms)

    async def page(self, after: str, count: int) -> list[str]:
        """Addresses in their order, those behind ``after``. Raises StoreError."""
        first = f"({after}" if after else "-"
        found = await self._store.execute("ZRANGE", _INDEX, first, "+", "BYLEX", "LIMIT", 0, count)
        return [address.decode() for address in found]

    async def page_of_users(self, after: str, count: int) -> list[User]:
        """Users in the order of their addresses, those behind ``after``; [] at the end. Raises StoreError."""
        while addresses := await self.page(after, count):
            users = []
            for found in await self.get_many(addresses):
                if isinstance(found, StoreError):
                    raise found
                if found is not None:
                    users.append(found.user)
            if users:
                return users
            after = addresses[-1]  # all of them were deleted meanwhile
        return []


async def with_passwords(users: UserRepository, addresses: Sequence[str]) -> list[bool]:
    """Whether users have a password kept here, by address. Raises StoreError."""
    found = await users.get_many(addresses)
    for stored in found:
        if isinstance(stored, StoreError):
            raise stored
    return [isinstance(stored, StoredUser) and bool(stored.credentials) for stored in found]


def decode_event(raw: bytes) -> Record:
    """An entry of an outbox."""
    if raw.startswith(_PACKED):
        return _decode_packed(raw)
    # What waited when the first release with traces took over: the event alone.
    message = UserChanged.FromString(raw)
    return Record(TOPIC, message.address, message)
