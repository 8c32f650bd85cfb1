"""The gRPC surface of the presence service (proto parley.presence.v1): for people and scripts; clients use SIP."""

from __future__ import annotations

from typing import Any, Final

from grpc import StatusCode
from prometheus_client import Counter

from parley.platform.clock import Clock
from parley.platform.rpc.duplex import duplex_handler
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.tracing import current_span
from parley.presence.documents.contact_lists import contact_delta
from parley.presence.errors import PresenceError
from parley.presence.importing import MAX_ENTRIES, ContactEntry, GroupEntry, ImportReport, exported, import_contacts
from parley.proto.events.v1.presence_pb2 import ContactChanged
from parley.proto.presence.v1 import presence_pb2 as api
from parley.proto.presence.v1 import state_pb2 as pb
from parley.proto.presence.v1.presence_pb2_grpc import PresenceServicer
from services.presence.config import PresenceConfig
from services.presence.repository import PresenceRepository
from services.presence.summary import presence_shown
from services.presence.users import Users
from services.presence.watches import Watches

_IMPORTED: Final = Counter("parley_presence_contacts_imported_total", "Contacts of imports, by outcome", ["outcome"])


class PresenceSurface(PresenceServicer):
    """Shows and watches presence, exports and imports contacts."""

    def __init__(
        self, config: PresenceConfig, repository: PresenceRepository, users: Users, watches: Watches, clock: Clock
    ) -> None:
        self._config = config
        self._repository = repository
        self._users = users
        self._clock = clock
        self.WatchPresence: Any = duplex_handler(watches.new_session, api.WatchPresenceResponse)

    async def ShowPresence(self, request: api.ShowPresenceRequest, context: Any) -> api.ShowPresenceResponse:
        """All that is known of a user's presence now."""
        aor, name = await self._user(request.address)
        try:
            ((state, version),) = await self._repository.versioned([aor])
            shown = presence_shown(state, version)
            shown.subscriptions = await self._repository.count_subscriptions(aor)
            shown.watchers = await self._repository.count_watchers(aor)
            shown.contacts = len((await self._repository.contacts(aor)).contacts)
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        shown.state.display_name = name
        return shown

    async def ExportContacts(self, request: api.ExportContactsRequest, context: Any) -> api.ExportContactsResponse:
        """The contact list of a user."""
        aor, _ = await self._user(request.address)
        try:
            contacts = await self._repository.contacts(aor)
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        groups, entries = exported(contacts)
        return api.ExportContactsResponse(
            address=aor, delta=contacts.delta,
            groups=[api.ContactGroup(name=group.name, external_uri=group.external_uri) for group in groups],
            contacts=[
                api.ContactEntry(
                    address=entry.address, name=entry.name, groups=entry.groups, subscribed=entry.subscribed,
                    external_uri=entry.external_uri, extension=entry.extension,
                )
                for entry in entries
            ],
        )  # fmt: skip

    async def ImportContacts(self, request: api.ImportContactsRequest, context: Any) -> api.ImportContactsResponse:
        """Puts contacts into the list of a user; the events of the change tell the user's clients."""
        if len(request.contacts) > MAX_ENTRIES or len(request.groups) > MAX_ENTRIES:
            raise RpcError(StatusCode.INVALID_ARGUMENT, f"at most {MAX_ENTRIES} contacts are taken at a time")
        aor, _ = await self._user(request.address)
        now_ms = round(self._clock.wall() * 1000)
        groups = [GroupEntry(item.name, _given(item, "external_uri")) for item in request.groups]
        entries = [_entry(item) for item in request.contacts]

        def apply(contacts: pb.ContactList) -> tuple[tuple[ImportReport, int], list[ContactChanged]]:
            report = import_contacts(contacts, entries, groups, replace=request.replace, limit=self._config.max_contacts)
            events = [
                ContactChanged(aor=aor, delta=delta.number, at_ms=now_ms, document=contact_delta(delta))
                for delta in report.deltas
            ]
            return (report, contacts.delta), [] if request.dry_run else events

        try:
            report, delta = await self._repository.change_contacts(aor, apply, current_span().traceparent)
        except PresenceError as error:
            raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        applied = not (request.dry_run or report.refused)
        if applied:
            for outcome in ("added", "changed", "unchanged", "deleted"):
                _IMPORTED.labels(outcome).inc(getattr(report, outcome))
        _IMPORTED.labels("refused").inc(len(report.problems))
        return api.ImportContactsResponse(
            added=report.added, changed=report.changed, unchanged=report.unchanged, deleted=report.deleted,
            groups_added=report.groups_added, groups_deleted=report.groups_deleted, delta=delta, applied=applied,
            problems=[
                api.ImportContactsResponse.Problem(index=bad.index, address=bad.address, reason=bad.reason)
                for bad in report.problems
            ],
        )  # fmt: skip

    async def _user(self, text: str) -> tuple[str, str]:
        """Address of record and display name. Raises RpcError."""
        found = await self._users.find(text)
        if found is None:
            raise RpcError(StatusCode.NOT_FOUND, f"there is no user {text}")
        return found


def _entry(item: api.ContactEntry) -> ContactEntry:
    return ContactEntry(
        item.address, item.name, tuple(item.groups), _given(item, "subscribed"), _given(item, "external_uri"),
        _given(item, "extension"),
    )  # fmt: skip


def _given(item: Any, name: str) -> Any:
    """An optional field; None when it is absent."""
    return getattr(item, name) if item.HasField(name) else None
