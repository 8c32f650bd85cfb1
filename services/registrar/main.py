"""Wires the registrar."""

from __future__ import annotations

from parley.platform.keys import derive_key
from parley.platform.lifecycle import ServiceContext, ShortWorkService
from parley.platform.outbox import OutboxRelay
from parley.platform.store.shards import SHARDS
from parley.proto.registrar.v1.registrar_pb2_grpc import add_RegistrarServicer_to_server
from parley.sip.gruu import TemporaryGruus
from services.registrar import keys
from services.registrar.config import RegistrarConfig
from services.registrar.edges import EdgeLeases
from services.registrar.repository import BindingRepository, decode_event
from services.registrar.service import RegistrarSurface
from services.registrar.sweeper import Sweeper


class RegistrarService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "registrar"
    config_model = RegistrarConfig

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, RegistrarConfig)

    def register(self) -> None:
        """Puts the gRPC surface up."""
        context, config = self._context, self.config
        repository = BindingRepository(context.store, config.max_bindings)
        self._edges = EdgeLeases(context.store, context.clock)
        outboxes = [keys.outbox_key(shard) for shard in range(SHARDS)]
        self._relay = OutboxRelay(self.name, context.store, context.events, outboxes, decode_event)
        gruus = TemporaryGruus(derive_key(context.master_key, "temporary-gruu"))
        surface = RegistrarSurface(config, repository, self._edges, gruus, context.clock, context.tracer, self._on_events)
        self._sweeper = Sweeper(
            repository, self._edges, context.clock, interval_s=config.sweep_interval, grace_s=config.edge_grace,
            on_events=self._on_events,
        )  # fmt: skip
        context.rpc.add_service(add_RegistrarServicer_to_server, surface, "parley.registrar.v1.Registrar")

    def _on_events(self, shard: int) -> None:
        self._relay.wake(keys.outbox_key(shard))

    async def start(self) -> None:
        """Begins to sweep and to relay events."""
        tasks = self._context.tasks
        tasks.spawn("registrar leases", self._edges.run())
        tasks.spawn("registrar sweeper", self._sweeper.run())
        tasks.spawn("registrar outbox", self._relay.run())
        self.ready = True
