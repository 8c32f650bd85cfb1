"""Wires the conferencing server for messages."""

from __future__ import annotations

from secrets import token_hex

from parley.platform.applications.dialogs import DialogSender
from parley.platform.applications.edges import EdgeAddresses, EdgeSender
from parley.platform.applications.registrations import Registrations, lookup_client
from parley.platform.lifecycle import STORE_AND_EVENTS, ServiceContext, ShortWorkService
from parley.proto.conference.v1.focus_pb2_grpc import FocusStub
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from services.immcu.application import ImMcuApplication
from services.immcu.config import ImMcuConfig
from services.immcu.delivery import Delivery
from services.immcu.relay import Relay
from services.immcu.repository import ChatRepository
from services.immcu.sessions import Sessions


class ImMcuService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "immcu"
    config_model = ImMcuConfig
    needs = STORE_AND_EVENTS

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, ImMcuConfig)

    def register(self) -> None:
        """Puts the application up."""
        context, config, tasks = self._context, self.config, self._context.tasks
        repository = ChatRepository(context.store, token_hex(8))
        focus = context.rpc.channel("parley.conference.v1.Focus").stub(FocusStub)
        self._sender = DialogSender(
            EdgeSender(context.rpc, EdgeAddresses(context.rpc)), Registrations(lookup_client(context.rpc))
        )
        self._sessions = Sessions(repository, focus, self._sender, tasks)
        delivery = Delivery(
            repository, self._sender, self._sessions, context.tracer, config.server_name, config.answer_seconds
        )
        self._relay = Relay(repository, delivery, tasks, context.clock)
        application = ImMcuApplication(config, repository, self._sessions, self._relay, delivery, tasks, context.clock)
        context.applications.add(self.name, application, context.tracer)

    async def start(self) -> None:
        """Begins to relay."""
        context = self._context
        context.tasks.spawn("relay of what is left over", self._relay.run())
        context.events.subscribe(
            "parley.conferences", ConferenceChanged, self._sessions.on_conference_changed, group=self.name
        )
        self.ready = True

    async def stop(self) -> None:
        """Ends what is under way."""
        await super().stop()
        await self._sender.stop()
