"""From a change to those who watch: the consumer of the service's own events.

Events of one user come in order and to one process at a time, at least once; a notification tells the state as it is when it
is sent, so one event too many does no harm.
"""

from __future__ import annotations

from parley.platform.events.api import Event
from parley.presence.model import bare
from parley.proto.events.v1.presence_pb2 import ContactChanged, PresenceChanged, WatcherChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.admission import Admission
from services.presence.documents import Documents, Pending, concerns
from services.presence.notifier import Notifier
from services.presence.packages import DIALOG, LISTS, PRESENCE, ROAMING_CONTACTS, ROAMING_SELF, WATCHERS
from services.presence.repository import PresenceRepository
from services.presence.users import Users
from services.presence.views import Changes, contacts_document


class Fanout:
    """Tells subscribers of changes."""

    def __init__(
        self, repository: PresenceRepository, users: Users, documents: Documents, notifier: Notifier, *, max_listed: int
    ) -> None:
        """``max_listed``: users of a list subscription."""
        self._repository = repository
        self._users = users
        self._documents = documents
        self._notifier = notifier
        self._max_listed = max_listed

    async def on_presence_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.presence``. Raises StoreError, RpcError: the event comes again."""
        changed: PresenceChanged = event.message
        packages = _packages(changed)
        subscriptions = await self._repository.watchers(changed.aor, *packages) if packages else []
        if not subscriptions:
            return
        (state,) = await self._users.named([await self._repository.presentity(changed.aor)])
        access = set(changed.watchers)
        for subscription in subscriptions:
            touched = bool(access & {"*", bare(subscription.watcher).lower()})
            if touched and self._is_over(state, subscription):
                await self._notifier.finish(subscription, "rejected")
                continue
            changes = _changes(subscription, changed, touched)
            if concerns(subscription, changes):
                self._notifier.tell(
                    subscription,
                    Pending(
                        {changed.aor: changes}, since=changed.at_ms / 1000, traceparents=[event.traceparent],
                        states={changed.aor: state},
                    ),
                )  # fmt: skip

    def _is_over(self, state: pb.Presentity, subscription: pb.Subscription) -> bool:
        """Whether access to the one user of a subscription was taken away."""
        if subscription.list or subscription.event not in (PRESENCE, DIALOG):
            return False
        return self._documents.admission(state, subscription) is Admission.REFUSED

    async def on_watcher_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.watchers``. Raises StoreError."""
        changed: WatcherChanged = event.message
        changes = Changes(watchers={changed.subscription_id: changed})
        for subscription in await self._repository.watchers(changed.aor, WATCHERS):
            pending = Pending({changed.aor: changes}, since=changed.at_ms / 1000, traceparents=[event.traceparent])
            self._notifier.tell(subscription, pending)

    async def on_contact_changed(self, event: Event) -> None:
        """Handler of the topic ``parley.contacts``. Raises StoreError."""
        changed: ContactChanged = event.message
        for subscription in await self._repository.watchers(changed.aor):
            if subscription.event == ROAMING_CONTACTS:
                self._notifier.send(subscription, contacts_document(changed.document), event.traceparent)
        for subscription in await self._repository.watchers(changed.aor, LISTS):
            await self._list_changed(subscription, event)

    async def _list_changed(self, entry: pb.Subscription, event: Event) -> None:
        """The list of a subscription has other users now: it is told whole."""
        subscription = await self._repository.subscription(entry.watcher, entry.id)
        if subscription is None:
            return
        before = list(subscription.resources)
        now = (await self._repository.contact_addresses(subscription.target))[: self._max_listed]
        if now == before:
            return
        del subscription.resources[:]
        subscription.resources.extend(now)
        await self._repository.keep(subscription, gone=[aor for aor in before if aor not in now])
        pending = Pending(since=event.message.at_ms / 1000, traceparents=[event.traceparent], full=True)
        self._notifier.tell(subscription, pending)


def _packages(changed: PresenceChanged) -> list[str]:
    """Where those lie whom a change may concern."""
    packages = []
    if changed.categories or changed.own_categories or changed.containers or changed.subscribers or changed.watchers:
        packages.append("")
    if changed.calls or changed.watchers:
        packages.append(DIALOG)
    if changed.watchers:
        packages.append(WATCHERS)
    return packages


def _changes(subscription: pb.Subscription, changed: PresenceChanged, touched: bool) -> Changes:
    """What of a change a subscription may be told; ``touched``: the watcher's access changed."""
    if subscription.event == ROAMING_SELF:
        return Changes(set(changed.own_categories), set(changed.containers), set(changed.subscribers))
    if subscription.event == WATCHERS:
        return Changes(access=set(changed.watchers))
    categories = set(changed.categories)
    if touched:
        categories |= set(subscription.categories) | {"state", "note", "contactCard"}
    return Changes(categories, calls=changed.calls or touched)
