"""What a subscriber is sent: everything, or what is new, made of the state as it is when it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from parley.platform.clock import Clock
from parley.presence.access import call_detail
from parley.presence.calls import dialogs
from parley.presence.documents.contact_lists import contact_list
from parley.presence.documents.publications import CATEGORIES_TYPE
from parley.presence.standard.dialog_info import DialogInfo, build_dialog_info
from parley.presence.standard.message_summary import VOICE, Counts, MessageSummary, build_message_summary
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.admission import Admission, admission
from services.presence.config import PresenceConfig
from services.presence.lists import ROOM, Entry, document_size, list_document, row_size
from services.presence.packages import DIALOG, FORMATS, MESSAGES, PRESENCE, ROAMING_CONTACTS, ROAMING_SELF, WATCHERS
from services.presence.repository import PresenceRepository
from services.presence.users import Users
from services.presence.views import (
    Changes,
    Document,
    all_categories,
    categories_document,
    contacts_document,
    own_document,
    pidf_document,
    wanted_categories,
)
from services.presence.watcher_info import watchers_document


@dataclass(slots=True)
class Pending:
    """What a subscription is to be told."""

    changes: dict[str, Changes] = field(default_factory=dict)
    """Of users, by address of record."""
    since: float = 0.0
    """When the first of it came, wall clock seconds."""
    traceparents: list[str] = field(default_factory=list)
    """Of the changes it tells of."""
    states: dict[str, pb.Presentity] = field(default_factory=dict)
    """Where the state that is to be told is at hand."""
    full: bool = False
    """Everything is to be told, whatever changed."""
    tries: int = 0
    """How often it could not be sent, as something was away."""


@dataclass(frozen=True, slots=True)
class Made:
    """A document, and what had no room in it."""

    document: Document
    rest: dict[str, Changes] = field(default_factory=dict)


def concerns(subscription: pb.Subscription, changes: Changes) -> bool:
    """Whether changes of a user are anything to a subscription to that user."""
    if subscription.event == ROAMING_SELF:
        return bool(changes.categories or changes.containers or changes.subscribers)
    if subscription.event == WATCHERS:
        return bool(changes.watchers or changes.access)
    if subscription.event == DIALOG:
        return changes.calls
    if subscription.event != PRESENCE:
        return False
    if subscription.format == CATEGORIES_TYPE:
        return bool(wanted_categories(subscription, changes))
    return bool(changes.categories & {"state", "note"})


class Documents:
    """Makes the documents of all packages."""

    def __init__(self, config: PresenceConfig, repository: PresenceRepository, users: Users, clock: Clock) -> None:
        self._refuse_blocked = config.blocked_watchers == "refuse"
        self._repository = repository
        self._users = users
        self._clock = clock

    async def make(self, subscription: pb.Subscription, pending: Pending, version: int, *, room: float = ROOM) -> Made:
        """The document for what is pending, of the state as it is now. Raises StoreError, RpcError.

        ``version``: counts the documents of a subscription from 0, for packages whose documents say it; ``room``: bytes
        that a list may take before documents are left for the next.
        """
        target = subscription.target
        if subscription.event == MESSAGES:
            return Made(message_document())
        if subscription.event == ROAMING_CONTACTS:
            return Made(contacts_document(contact_list(await self._repository.contacts(target))))
        if subscription.list:
            return await self._list(subscription, pending, version, room)
        (state,) = await self._states([target], pending)
        changes = None if pending.full else pending.changes.get(target, Changes())
        if subscription.event == ROAMING_SELF:
            return Made(own_document(state, changes, subscription.categories))
        if subscription.event == WATCHERS:
            watching = await self._repository.watchers(target)
            return Made(watchers_document(state, watching, changes, version=version, now_ms=self._now_ms()))
        return Made(self._one(subscription, state, changes, version))

    def admission(self, state: pb.Presentity, subscription: pb.Subscription) -> Admission:
        """How a subscription to a user stands."""
        return admission(state, subscription, refuse_blocked=self._refuse_blocked)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    async def _states(self, aors: Sequence[str], pending: Pending) -> list[pb.Presentity]:
        missing = [aor for aor in aors if aor not in pending.states]
        if missing:
            states = await self._users.named(await self._repository.presentities(missing))
            pending.states.update(zip(missing, states, strict=True))
        return [pending.states[aor] for aor in aors]

    def _one(self, subscription: pb.Subscription, state: pb.Presentity, changes: Changes | None, version: int) -> Document:
        """The document of one user."""
        watcher = subscription.watcher
        if subscription.format == CATEGORIES_TYPE:
            names = all_categories(subscription) if changes is None else wanted_categories(subscription, changes)
            return Document(CATEGORIES_TYPE, categories_document(state, watcher, names))
        waits = self.admission(state, subscription) is Admission.PENDING
        if subscription.event == DIALOG:
            shown = dialogs(
                state, call_detail(state, watcher), self._now_ms(), only=subscription.call, ended=changes is not None
            )
            info = DialogInfo(state.address, version, "full", tuple(shown))
            return Document(FORMATS[DIALOG], build_dialog_info(info), waits)
        return Document(FORMATS[PRESENCE], pidf_document(state, watcher), waits)

    # Lists

    async def _list(self, subscription: pb.Subscription, pending: Pending, version: int, room: float) -> Made:
        resources = list(pending.changes)
        if pending.full:
            known = subscription if subscription.resources else None
            known = known or await self._repository.subscription(subscription.watcher, subscription.id) or subscription
            resources = list(known.resources)
        states = await self._states(resources, pending)
        if subscription.format == CATEGORIES_TYPE:
            return Made(self._categories(subscription, pending, states))
        room -= sum(row_size(state.address, state.display_name) for state in states)
        entries: list[Entry] = []
        rest: dict[str, Changes] = {}
        told = 0
        for uri, state in zip(resources, states, strict=True):
            entry = await self._entry(subscription, state, None if pending.full else pending.changes[uri], version)
            size = document_size(entry.document) if entry.document is not None else 0
            if size > room and told:
                rest[uri] = Changes({"state"}, calls=True)
                if not pending.full:
                    continue
                entry = Entry(uri, name=state.display_name)
            else:
                room -= size
                told += size > 0
            entries.append(entry)
        return Made(list_document(subscription, entries, version=version, full=pending.full), rest)

    def _categories(self, subscription: pb.Subscription, pending: Pending, states: Sequence[pb.Presentity]) -> Document:
        """What Communicator is sent; of one user without a list around it."""
        entries = [
            Entry(state.address, self._one(subscription, state, None if pending.full else pending.changes[state.address], 0))
            for state in states
        ]
        if not pending.full and len(entries) == 1 and entries[0].document is not None:
            return entries[0].document
        return list_document(subscription, entries, version=0, full=pending.full)

    async def _entry(
        self, subscription: pb.Subscription, state: pb.Presentity, changes: Changes | None, version: int
    ) -> Entry:
        uri, name = state.address, state.display_name
        if await self._users.name_of(uri) is None:
            return Entry(uri, state="terminated", reason="noresource")
        found = self.admission(state, subscription)
        if found is Admission.REFUSED:
            return Entry(uri, state="terminated", reason="rejected", name=name)
        if found is Admission.PENDING:
            return Entry(uri, state="pending", name=name)
        return Entry(uri, self._one(subscription, state, changes, version), name=name)


def message_document() -> Document:
    """That no message waits: there is no voice mail that could hold any."""
    summary = MessageSummary(waiting=False, counts=(Counts(VOICE, 0, 0),))
    return Document(FORMATS[MESSAGES], build_message_summary(summary))
