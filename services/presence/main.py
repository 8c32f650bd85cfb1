"""Wires the presence service."""

from __future__ import annotations

from parley.platform.applications.edges import EdgeAddresses, EdgeSender
from parley.platform.applications.registrations import Registrations, lookup_client
from parley.platform.lifecycle import STORE_AND_EVENTS, ServiceContext, ShortWorkService
from parley.platform.outbox import OutboxRelay
from parley.platform.store.shards import SHARDS
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub
from parley.proto.events.v1.call_pb2 import CallChanged
from parley.proto.events.v1.presence_pb2 import ContactChanged, PresenceChanged, WatcherChanged
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.proto.presence.v1.access_pb2_grpc import add_AccessServicer_to_server
from parley.proto.presence.v1.presence_pb2_grpc import add_PresenceServicer_to_server
from services.presence import keys
from services.presence.access import AccessSurface
from services.presence.application import PresenceApplication
from services.presence.calls import CallCheck, Calls
from services.presence.config import PresenceConfig
from services.presence.documents import Documents
from services.presence.endpoints import Endpoints
from services.presence.fanout import Fanout
from services.presence.notifier import Notifier
from services.presence.phone_publications import PhonePublications
from services.presence.repository import (
    CONTACTS_TOPIC,
    PRESENCE_TOPIC,
    WATCHERS_TOPIC,
    PresenceRepository,
    decode_event,
)
from services.presence.service import PresenceSurface
from services.presence.service_requests import ServiceRequests
from services.presence.subscriptions import Subscriptions
from services.presence.sweeper import Sweeper
from services.presence.users import Users
from services.presence.watches import Watches

_GROUP = "presence"


class PresenceService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "presence"
    config_model = PresenceConfig
    needs = STORE_AND_EVENTS

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, PresenceConfig)

    def register(self) -> None:
        """Puts the application up."""
        context, config, clock = self._context, self.config, self._context.clock
        outboxes = [keys.outbox_key(shard) for shard in range(SHARDS)]
        self._relay = OutboxRelay(self.name, context.store, context.events, outboxes, decode_event)
        repository = PresenceRepository(context.store, self._relay.wake, clock, call_check_s=config.call_check_seconds)
        self._users = Users(context.rpc.channel("parley.addressbook.v1.AddressBook").stub(AddressBookStub), clock)
        addresses = EdgeAddresses(context.rpc)
        self._sender = EdgeSender(context.rpc, addresses)
        finder = Registrations(lookup_client(context.rpc))
        documents = Documents(config, repository, self._users, clock)
        self._notifier = Notifier(
            repository, self._sender, documents, finder, clock, context.tracer, interval_s=config.notify_interval
        )
        self._fanout = Fanout(repository, self._users, documents, self._notifier, max_listed=config.max_list_resources)
        self._endpoints = Endpoints(repository, clock)
        self._calls = Calls(repository, self._users, clock)
        self._sweeper = Sweeper(repository, self._notifier, CallCheck(context.rpc, addresses, clock), clock)
        application = PresenceApplication(
            config,
            Subscriptions(config, repository, self._notifier, documents, self._users, clock, self._has_relay),
            ServiceRequests(config, repository, clock),
            PhonePublications(config, repository, clock),
        )
        context.applications.add(self.name, application, context.tracer)
        watches = Watches(repository, self._users, context.events, context.tasks)
        surface = PresenceSurface(config, repository, self._users, watches, clock)
        context.rpc.add_service(add_PresenceServicer_to_server, surface, "parley.presence.v1.Presence", context.tracer)
        context.rpc.add_service(
            add_AccessServicer_to_server, AccessSurface(repository), "parley.presence.v1.Access", context.tracer
        )

    def _has_relay(self) -> bool:
        """Whether the edge's application, which gives credentials, runs here or has an address."""
        return "avedge" in self._context.applications or "avedge" in self._context.platform.rpc.targets

    async def start(self) -> None:
        """Begins to relay, to notify and to sweep."""
        context = self._context
        context.tasks.spawn("presence outbox", self._relay.run())
        context.tasks.spawn("presence sweeper", self._sweeper.run())
        events = context.events
        events.subscribe(PRESENCE_TOPIC, PresenceChanged, self._fanout.on_presence_changed, group=_GROUP)
        events.subscribe(CONTACTS_TOPIC, ContactChanged, self._fanout.on_contact_changed, group=_GROUP)
        events.subscribe("parley.registrations", RegistrationChanged, self._endpoints.on_registration_changed, group=_GROUP)
        events.subscribe("parley.calls", CallChanged, self._calls.on_call_changed, group=_GROUP)
        events.subscribe(WATCHERS_TOPIC, WatcherChanged, self._fanout.on_watcher_changed, group=_GROUP)
        events.subscribe("parley.users", UserChanged, self._users.on_user_changed)
        self.ready = True

    async def stop(self) -> None:
        """Ends what is under way."""
        await super().stop()
        await self._notifier.stop()
        await self._sender.stop()
