"""Users in Redis. Every change is durable when it returns, and writes its event in the same step.

All keys share one hash tag: logins are unique among all users, so they are checked where they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from parley.platform.outbox import Record
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.proto.events.v1.user_pb2 import UserChanged
from services.addressbook.users import login_keys

TOPIC: Final = "parley.users"
_PREFIX: Final = "parley:ab:{users}:"
_ENDS_CERTIFICATES: Final = frozenset(
    {UserChanged.KIND_PASSWORD_CHANGED, UserChanged.KIND_DISABLED, UserChanged.KIND_DELETED}
)
OUTBOX: Final = _PREFIX + "outbox"
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


class Exists(Exception):
    """There is such a user already."""


class Absent(Exception):
    """There is no such user."""


class Conflict(Exception):
    """The user was changed by somebody else meanwhile."""


class LoginTaken(Exception):
    """Another user has that login."""


class UserRepository:
    """The address book's view of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._change = store.script("services.addressbook", "change.lua")

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

    async def create(self, user: User, credentials: bytes, event: UserChanged) -> None:
        """Raises Exists, LoginTaken, StoreError."""
        await self._write(user.address, "0", user, credentials, event)

    async def update(self, user: User, credentials: bytes | None, event: UserChanged) -> None:
        """``user.version`` is the one that was read. Raises Absent, Conflict, LoginTaken, StoreError."""
        await self._write(user.address, str(user.version), user, credentials, event)

    async def delete(self, address: str, event: UserChanged) -> None:
        """Raises Absent, StoreError."""
        await self._write(address, "*", None, None, event)

    async def _write(
        self, address: str, version: str, user: User | None, credentials: bytes | None, event: UserChanged
    ) -> None:
        reply = await self._change.durable(
            [user_key(address), _LOGINS, _INDEX, OUTBOX, certificates_key(address)],
            [
                address, version, user.SerializeToString() if user is not None else b"",
                "=" if credentials is None else credentials, event.SerializeToString(),
                "\n".join(login_keys(user)) if user is not None else "", "1" if event.kind in _ENDS_CERTIFICATES else "",
            ],
        )  # fmt: skip
        text = reply.decode()
        if text == "EXISTS":
            raise Exists
        if text == "ABSENT":
            raise Absent
        if text == "CONFLICT":
            raise Conflict
        if text.startswith("LOGIN "):
            raise LoginTaken(text.removeprefix("LOGIN "))

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


def decode_event(raw: bytes) -> Record:
    """An entry of the outbox."""
    message = UserChanged.FromString(raw)
    return Record(TOPIC, message.address, message)
