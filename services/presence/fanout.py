"""From a change to those who watch: the consumer of the service's own events.

Events of one user come in order and to one process at a time, at least once; a notification tells the state as it is when it
is sent, so one event too many does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from parley.platform.events.api import Event
from parley.presence.model import bare
from parley.proto.events.v1.presence_pb2 import ContactChanged, PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.notifier import Notifier, Pending
from services.presence.repository import PresenceRepository
from services.presence.subscriptions import PRESENCE, ROAMING_CONTACTS, ROAMING_SELF
from services.presence.users import Users
from services.presence.views import Changes, Document, changed_document, contacts_document, own_document

logger = logging.getLogger(__name__)


class Fanout:
    """Tells subscribers of changes, and makes their documents; see `services.presence.notifier.Documents`."""

    def __init__(self, repository: PresenceRepository, users: Users) -> None:
        self._repository = repository
        self._users = users
        self.notifier: Notifier | None = None

    # Events

    async def on_presence_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.presence``. Raises StoreError: the event comes again."""
        changed: PresenceChanged = event.message
        (state,) = await self._users.named([await self._repository.presentity(changed.aor)])
        for subscription in await self._repository.watchers(changed.aor):
            pending = _pending(subscription, changed, state, event)
            if pending is not None and self.notifier is not None:
                self.notifier.tell(subscription, pending)

    async def on_contact_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.contacts``. Raises StoreError."""
        changed: ContactChanged = event.message
        for subscription in await self._repository.watchers(changed.aor):
            if subscription.event == ROAMING_CONTACTS and self.notifier is not None:
                self.notifier.send(subscription, contacts_document(changed.document), event.traceparent)

    # Documents

    async def make(self, subscription: pb.Subscription, pending: Pending) -> Document | None:
        """The document for what is pending, of the state as it is now. Raises StoreError."""
        missing = [aor for aor in pending.changes if aor not in pending.states]
        if missing:
            states = await self._users.named(await self._repository.presentities(missing))
            pending.states.update(zip(missing, states, strict=True))
        if subscription.event == ROAMING_SELF:
            changes = pending.changes.get(subscription.target, Changes())
            return own_document(pending.states[subscription.target], changes, subscription.categories)
        return changed_document(subscription, pending.states, pending.changes)


def _pending(subscription: pb.Subscription, changed: PresenceChanged, state: pb.Presentity, event: Event) -> Pending | None:
    """What a subscription is to be told of a change; None for nothing."""
    changes = None
    if subscription.event == ROAMING_SELF:
        changes = Changes(set(changed.own_categories), set(changed.containers), set(changed.subscribers))
        if not (changes.categories or changes.containers or changes.subscribers):
            return None
    elif subscription.event == PRESENCE:
        categories = set(changed.categories)
        if _is_among(subscription.watcher, changed.watchers):
            categories |= set(subscription.categories) | {"state", "note", "contactCard"}
        if not categories:
            return None
        changes = Changes(categories)
    if changes is None:
        return None
    return Pending(
        {changed.aor: changes}, since=changed.at_ms / 1000, traceparents=[event.traceparent], states={changed.aor: state}
    )


def _is_among(watcher: str, users: Iterable[str]) -> bool:
    names = set(users)
    return "*" in names or bare(watcher).lower() in names
