"""One change of the directory: an entry, users who sign in, the index and the events, in one durable step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from parley.addressbook.entries import Entry, Kind
from parley.addressbook.entry_json import to_json
from parley.addressbook.searching.keys import Posting, change
from parley.platform.outbox import pack_event
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import current_span
from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.proto.events.v1.directory_pb2 import EntryChanged
from parley.proto.events.v1.user_pb2 import UserChanged
from services.addressbook.directory.keys import OUTBOX, PREFIX, lookups_of
from services.addressbook.users import login_keys

TOPIC: Final = "parley.directory"
USERS_TOPIC: Final = "parley.users"
USERS_OUTBOX: Final = PREFIX + "outbox"
GONE: Final = PREFIX + "gone"
"""Hash: the last versions of users who were removed, by address."""
_ENDS_CERTIFICATES: Final = frozenset(
    {UserChanged.KIND_PASSWORD_CHANGED, UserChanged.KIND_DISABLED, UserChanged.KIND_DELETED}
)


class Exists(Exception):
    """There is such a user already."""


class Absent(Exception):
    """There is no such user."""


class Conflict(Exception):
    """The user was changed by somebody else meanwhile."""


class LoginTaken(Exception):
    """Another user has that login."""


class EntryConflict(Exception):
    """The entry was changed by somebody else meanwhile."""


class Taken(Exception):
    """Another entry is known by that already."""

    def __init__(self, lookup: str, owner: UUID) -> None:
        self.lookup = lookup
        self.what = lookup.removeprefix("by-")
        self.owner = owner
        super().__init__(f"another entry has this {self.what} already ({owner})")


class KeptElsewhere(Exception):
    """What is to be changed comes from a directory server, which would put it back."""

    def __init__(self, source: str) -> None:
        super().__init__(f"this comes from {source}; change it there, or disable the user here")
        self.source = source


@dataclass(frozen=True, slots=True)
class UserChange:
    """What becomes of somebody who signs in."""

    address: str
    expect: str
    """Version; "0": there must be none, "*": any."""
    user: User | None
    """None: removed."""
    credentials: bytes | None
    """None: kept."""
    event: UserChanged
    """Its version becomes that of a user who is made."""


@dataclass(frozen=True, slots=True)
class EntryChange:
    """What becomes of an entry: both have the same UUID, and ``before`` is what is kept now."""

    before: Entry | None
    after: Entry | None
    at_ms: int
    picture: bytes | None = None
    """The picture that the entry tells of from now on; b"": none, None: as it is."""

    @property
    def id(self) -> UUID:
        """Whose it is."""
        entry = self.after or self.before
        assert entry is not None, "nothing is changed to nothing"
        return entry.id


@dataclass(slots=True)
class _Document:
    """The arguments of the script."""

    content: dict[str, Any] = field(default_factory=dict)
    values: list[bytes] = field(default_factory=list)

    def keep(self, value: bytes) -> int:
        """The place of a packed value."""
        self.values.append(value)
        return len(self.values)

    def arguments(self) -> list[str | bytes]:
        return [PREFIX, json.dumps(self.content, ensure_ascii=False, separators=(",", ":")), *self.values]


class Writer:
    """Makes changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._script = store.script("services.addressbook.directory", "write.lua")

    async def write(self, users: list[UserChange], entry: EntryChange | None = None) -> None:
        """Durable when it returns.

        Raises Exists, Absent, Conflict, LoginTaken, EntryConflict, Taken, StoreError.
        """
        document = _Document()
        document.content["users"] = [_user(document, user, await self._since(user)) for user in users]
        if entry is not None:
            document.content["entry"] = _entry(document, entry)
            _index(document, entry)
        reply = (await self._script.durable([USERS_OUTBOX, OUTBOX], document.arguments())).decode()
        _raise_for(reply)

    async def _since(self, change: UserChange) -> int:
        """The last version of a user who had the address of one who is made. Raises StoreError."""
        if change.expect != "0":
            return 0
        since = int(await self._store.execute("HGET", GONE, change.address) or 0)
        change.event.version = since + 1
        return since


def _raise_for(reply: str) -> None:
    word, _, rest = reply.partition(" ")
    if word == "LOGIN":
        raise LoginTaken(rest)
    if word == "TAKEN":
        lookup, _, owner = rest.partition(" ")
        raise Taken(lookup, UUID(owner))
    problem = {"EXISTS": Exists, "ABSENT": Absent, "CONFLICT": Conflict, "ENTRY CONFLICT": EntryConflict}.get(reply)
    if problem is not None:
        raise problem


def _user(document: _Document, change: UserChange, since: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": change.address, "expect": change.expect, "since": str(since),
        "event": document.keep(pack_user_event(change.event)),
        "certificates": change.event.kind in _ENDS_CERTIFICATES,
    }  # fmt: skip
    if change.user is not None:
        found |= {"user": document.keep(change.user.SerializeToString()), "logins": login_keys(change.user)}
    if change.credentials is not None:
        found["credentials"] = document.keep(change.credentials)
    return found


def _entry(document: _Document, change: EntryChange) -> dict[str, Any]:
    before, after = change.before, change.after
    found: dict[str, Any] = {"id": change.id.hex, "expect": str(before.version if before is not None else 0)}
    old = lookups_of(before) if before is not None else []
    new = lookups_of(after) if after is not None else []
    found["drop"], found["take"] = [pair for pair in old if pair not in new], [pair for pair in new if pair not in old]
    if after is not None:
        found["value"] = document.keep(to_json(replace(after, version=0)))
        found["join"] = after.origin.source
        if change.picture is not None:
            found["picture"] = document.keep(change.picture) if change.picture else 0
    if before is not None and (after is None or after.origin.source != before.origin.source):
        found["leave"] = before.origin.source
    found["event"] = document.keep(_event(change))
    return found


def pack_user_event(event: UserChanged) -> bytes:
    """An entry of the outbox of users; it goes on with the trace of whoever changes the user."""
    return pack_event(USERS_TOPIC, event.address, event, current_span().traceparent)


def _event(change: EntryChange) -> bytes:
    entry = change.after or change.before
    assert entry is not None, "nothing is changed to nothing"
    kinds = EntryChanged
    kind = kinds.KIND_DELETED if change.after is None else kinds.KIND_UPDATED if change.before else kinds.KIND_CREATED
    what = {
        Kind.USER: kinds.ENTRY_KIND_USER, Kind.CONTACT: kinds.ENTRY_KIND_CONTACT, Kind.GROUP: kinds.ENTRY_KIND_GROUP
    }[entry.kind]  # fmt: skip
    event = EntryChanged(
        kind=kind, entry_id=str(entry.id), entry_kind=what, address=entry.address, source=entry.origin.source,
        version=(change.before.version if change.before is not None else 0) + 1, at_ms=change.at_ms,
    )  # fmt: skip
    return pack_event(TOPIC, str(entry.id), event, current_span().traceparent)


def _index(document: _Document, entry: EntryChange) -> None:
    found = change(entry.before, entry.after)
    if found is not None:
        document.content["index"] = {
            "old": found.old_member, "new": found.new_member, "remove": packed_postings(found.remove),
            "add": packed_postings(found.add),
        }  # fmt: skip


def packed_postings(postings: frozenset[Posting]) -> list[tuple[str, str, list[str]]]:
    """Postings as the scripts take them."""
    return [(posting.family.value, posting.value, list(posting.grams)) for posting in postings]
