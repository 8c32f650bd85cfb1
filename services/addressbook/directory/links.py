"""What binds entries of users and the users who sign in.

Every entry of kind USER with an address of our domains is somebody who signs in, and the other way round: one address, one
step. Names follow each other. Who comes from a directory server is known to sign-in without a password of our own, until one
is set. An entry that is disabled keeps its user out, one that is enabled again lets the user in; whoever is kept out here
(`parley user disable`) stays out until let in here, whatever a directory server says that did not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from parley.addressbook.entries import Entry, Kind, checked, uuid_of_name
from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.proto.events.v1.user_pb2 import UserChanged
from services.addressbook.directory.writing import UserChange
from services.addressbook.users import digest_logins

_MAX_NAME: Final = 128


def event_of(user: User, kind: UserChanged.Kind.ValueType, now_ms: int) -> UserChanged:
    """The event of a change; ``user``: with its version before."""
    return UserChanged(
        kind=kind, address=user.address, login_names=digest_logins(user), version=user.version + 1, at_ms=now_ms
    )


def user_of_entry(
    entry: Entry,
    before: Entry | None,
    stored: User | None,
    now_ms: int,
    *,
    logins: Sequence[str] | None,
    credentials: bytes | None,
) -> UserChange | None:
    """What becomes of the user when the entry becomes so; None when nothing does.

    ``before``: the entry, if it had this address; ``logins``: further login names, None: as they are; ``credentials``:
    sealed, of a new user.
    """
    name = entry.display_name[:_MAX_NAME]
    if stored is None:
        user = User(
            address=entry.address, display_name=name, login_names=logins or (), enabled=entry.enabled, created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )  # fmt: skip
        event = event_of(user, UserChanged.KIND_CREATED, now_ms)
        return UserChange(entry.address, "0", user, credentials or b"", event)
    user = User()
    user.CopyFrom(stored)
    user.display_name = name
    if logins is not None:
        user.login_names[:] = logins
    if before is None:
        user.enabled = stored.enabled and entry.enabled
    elif before.enabled != entry.enabled:
        user.enabled = entry.enabled
    if user == stored and credentials is None:
        return None
    user.updated_at_ms = now_ms
    kind = UserChanged.KIND_UPDATED if credentials is None else UserChanged.KIND_PASSWORD_CHANGED
    if user.enabled != stored.enabled:
        kind = UserChanged.KIND_ENABLED if user.enabled else UserChanged.KIND_DISABLED
    return UserChange(user.address, str(stored.version), user, credentials, event_of(user, kind, now_ms))


def entry_of_user(user: User, entry: Entry | None) -> Entry:
    """The entry that belongs to a user who was made or changed. Raises EntryError.

    ``entry``: the one with the user's address.
    """
    if entry is None:
        name = uuid_of_name(Kind.USER, user.address.removeprefix("sip:"))
        return checked(Entry(name, Kind.USER, address=user.address, display_name=user.display_name, enabled=user.enabled))
    return checked(replace(entry, display_name=user.display_name or entry.display_name, enabled=user.enabled))


def follows(user: User, entry: Entry) -> bool:
    """Whether a user is called as the entry is."""
    return user.display_name == entry.display_name[:_MAX_NAME]
