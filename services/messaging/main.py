"""Wires the messaging service."""

from __future__ import annotations

from parley.platform.applications.edges import EdgeAddresses, EdgeSender
from parley.platform.applications.registrations import lookup_client
from parley.platform.applications.users import UserNames
from parley.platform.lifecycle import STORE_AND_EVENTS, ServiceContext, ShortWorkService
from parley.platform.outbox import OutboxRelay
from parley.platform.store.shards import SHARDS
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.proto.presence.v1.access_pb2_grpc import AccessStub
from services.messaging import keys
from services.messaging.access import AccessRules
from services.messaging.application import MessagingApplication
from services.messaging.backlog import Backlog
from services.messaging.config import MessagingConfig
from services.messaging.conversations import Conversations
from services.messaging.delivery import Delivery
from services.messaging.devices import Devices
from services.messaging.mailbox import Facts, Mailbox, decode_event
from services.messaging.pages import Pages
from services.messaging.phones import Phones
from services.messaging.repository import Deadlines, Sessions
from services.messaging.sessions import SessionRequests
from services.messaging.sweeper import Sweeper
from services.messaging.undelivered import Reports, Undelivered

_GROUP = "messaging"


class MessagingService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "messaging"
    config_model = MessagingConfig
    needs = STORE_AND_EVENTS

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, MessagingConfig)

    def register(self) -> None:
        """Puts the application up."""
        context, config, clock = self._context, self.config, self._context.clock
        spawn = context.tasks.once
        outboxes = [keys.outbox_key(shard) for shard in range(SHARDS)]
        self._relay = OutboxRelay(self.name, context.store, context.events, outboxes, decode_event)
        self._users = UserNames(context.rpc.channel("parley.addressbook.v1.AddressBook").stub(AddressBookStub), clock)
        self._sender = EdgeSender(context.rpc, EdgeAddresses(context.rpc))
        registrations = Devices(lookup_client(context.rpc))
        sessions, mailbox = Sessions(context.store, most=config.max_sessions), Mailbox(context.store, config)
        conversations = Conversations(config, sessions, self._sender, registrations, clock, spawn)
        delivery = Delivery(Phones(self._sender), conversations)
        undelivered = Undelivered(Facts(context.store), clock, self._relay.wake)
        reports = Reports(config, registrations, delivery, mailbox, clock, spawn)
        access = AccessRules(
            context.rpc.channel("parley.presence.v1.Access").stub(AccessStub) if self._has_presence() else None
        )
        self._backlog = Backlog(
            config, mailbox, registrations, delivery, reports, undelivered, clock, context.tracer, spawn, self._relay.wake
        )
        pages = Pages(
            config, registrations, delivery, mailbox, self._backlog, reports, undelivered, self._users, access, clock, spawn
        )
        requests = SessionRequests(
            config, sessions, conversations, registrations, delivery, access, undelivered, clock, spawn
        )
        context.applications.add(self.name, MessagingApplication(config, pages, requests), context.tracer)
        self._sweeper = Sweeper(config, Deadlines(context.store), sessions, conversations, mailbox, self._backlog, clock)

    def _has_presence(self) -> bool:
        """Whether there is a presence service, here or elsewhere."""
        return "presence" in self._context.applications or "presence" in self._context.platform.rpc.targets

    async def start(self) -> None:
        """Begins to relay, to deliver what was kept, and to sweep."""
        context = self._context
        context.tasks.spawn("messaging outbox", self._relay.run())
        context.tasks.spawn("messaging sweeper", self._sweeper.run())
        events = context.events
        events.subscribe("parley.registrations", RegistrationChanged, self._backlog.on_registration_changed, group=_GROUP)
        changes = events.subscribe("parley.users", UserChanged, self._users.on_user_changed)
        context.tasks.once("messaging users", self._users.forget_once(changes))
        events.subscribe("parley.users", UserChanged, self._backlog.on_user_changed, group=_GROUP)
        self.ready = True

    async def stop(self) -> None:
        """Ends what is under way."""
        await super().stop()
        await self._sender.stop()
