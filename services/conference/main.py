"""Wires the conference service."""

from __future__ import annotations

from parley.platform.applications.dialogs import DialogSender
from parley.platform.applications.edges import EdgeAddresses, EdgeSender
from parley.platform.applications.registrations import Registrations, lookup_client
from parley.platform.lifecycle import STORE_AND_EVENTS, ServiceContext, ShortWorkService
from parley.platform.outbox import OutboxRelay
from parley.platform.store.shards import SHARDS
from parley.proto.conference.v1.focus_pb2_grpc import add_FocusServicer_to_server
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from services.conference import keys
from services.conference.application import ConferenceApplication
from services.conference.clients import Clients
from services.conference.commands import Commands
from services.conference.config import ConferenceConfig
from services.conference.endings import Endings
from services.conference.factory import Factory
from services.conference.focus import Focus
from services.conference.notifier import Notifier
from services.conference.repository import TOPIC, ConferenceRepository, decode_event
from services.conference.service import FocusSurface
from services.conference.subscriptions import Subscriptions
from services.conference.sweeper import Sweeper

_GROUP = "conference"


class ConferenceService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "conference"
    config_model = ConferenceConfig
    needs = STORE_AND_EVENTS

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, ConferenceConfig)

    def register(self) -> None:
        """Puts the application and the gRPC surface up."""
        context, config, tasks = self._context, self.config, self._context.tasks
        longest_ms = int(config.max_hours * 3_600_000)
        outboxes = [keys.outbox_key(shard) for shard in range(SHARDS)]
        self._relay = OutboxRelay(self.name, context.store, context.events, outboxes, decode_event)
        repository = ConferenceRepository(context.store, self._relay.wake, context.clock, longest_ms=longest_ms)
        self._sender = DialogSender(
            EdgeSender(context.rpc, EdgeAddresses(context.rpc)), Registrations(lookup_client(context.rpc))
        )
        self._notifier = Notifier(repository, self._sender, tasks, context.tracer, interval_s=config.notify_interval)
        endings = Endings(repository, self._sender, self._notifier, tasks)
        self._clients = Clients(repository)
        self._sweeper = Sweeper(repository, endings, context.clock, longest_ms=longest_ms)
        application = ConferenceApplication(
            config,
            Factory(config, repository, endings),
            Focus(config, repository, self._sender, Commands(repository, endings), endings, tasks),
            Subscriptions(config, repository, self._notifier),
        )
        context.applications.add(self.name, application, context.tracer)
        context.rpc.add_service(add_FocusServicer_to_server, FocusSurface(repository), "parley.conference.v1.Focus")

    async def start(self) -> None:
        """Begins to relay, to notify and to sweep."""
        context = self._context
        context.tasks.spawn("conference outbox", self._relay.run())
        context.tasks.spawn("conference sweeper", self._sweeper.run())
        context.events.subscribe(TOPIC, ConferenceChanged, self._notifier.on_conference_changed, group=_GROUP)
        context.events.subscribe(
            "parley.registrations", RegistrationChanged, self._clients.on_registration_changed, group=_GROUP
        )
        self.ready = True

    async def stop(self) -> None:
        """Ends what is under way."""
        await super().stop()
        await self._notifier.stop()
        await self._sender.stop()
