"""Wires the front end."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path

from parley.platform.events.api import Event
from parley.platform.events.publisher import FactPublisher
from parley.platform.keys import derive_key, write_private
from parley.platform.lifecycle import NOTHING, ServiceContext
from parley.platform.resolver import Resolver
from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.duplex import DuplexClient
from parley.platform.rpc.errors import RpcError
from parley.platform.tls import CertificateFiles, ServerTls, client_context
from parley.proto.addressbook.v1 import addressbook_pb2 as addressbook
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.proto.registrar.v1 import registrar_pb2 as registrar
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from parley.proto.sip.v1 import application_pb2, edge_pb2
from parley.proto.sip.v1.edge_pb2_grpc import add_EdgeServicer_to_server
from parley.sip.errors import SipParseError
from parley.sip.flowtoken import FlowTokens
from parley.sip.limits import DEFAULT_LIMITS
from parley.sip.nonce import Nonces
from parley.sip.proxy.loops import LoopDetector
from parley.sip.transaction import Timers
from services.frontend.applications import ApplicationClient, Applications
from services.frontend.associations import Gate
from services.frontend.authentication import DigestAuthenticator
from services.frontend.calls import LOST_FACTS, TOPIC, CallTracker
from services.frontend.communicator import CommunicatorDialect, sign_in_servers
from services.frontend.config import FrontendConfig
from services.frontend.credentials import CredentialCache
from services.frontend.directory import BackendDirectory
from services.frontend.dispatcher import Dispatcher
from services.frontend.draining import ACK_S, close_connections, give_up, waiting_connections, waits_over_udp
from services.frontend.dsk import dsk_context, renew
from services.frontend.flows import Flow, Flows
from services.frontend.guessing import GuessGuard
from services.frontend.kerberos import HEADER_LINE, Contexts, acceptor_of
from services.frontend.leases import LeaseKeeper
from services.frontend.listeners import Listeners, advertised, certificate_files, open_listeners
from services.frontend.outside import Outside
from services.frontend.proxying.branches import LocalBranches
from services.frontend.proxying.delivery import Deliveries
from services.frontend.proxying.driver import Driver
from services.frontend.proxying.peers import DeliverClient, PeerEdges
from services.frontend.proxying.proxy import ProxyCore
from services.frontend.proxying.returning import Leaving, Patience
from services.frontend.proxying.vias import Branches
from services.frontend.proxying.wiring import Addresses
from services.frontend.registration import Registration
from services.frontend.responses import answer_here
from services.frontend.routing import APPLICATION_ROWS, Destination, RouteRow, RoutingTable
from services.frontend.service import EdgeSurface
from services.frontend.transports.connector import OutgoingConnections
from services.frontend.transports.stream import Connections, sweep

logger = logging.getLogger(__name__)

_SWEEP_S = 2.0
_BACKENDS_S = 15.0
_BACKENDS_PAUSE_S = 0.2
_LAST_REFUSALS_S = 0.2
"""Before the end of a drain that ends with its time: who still waits is told so, and closed connections do not forbid it."""
_EDGE = "parley.sip.v1.Edge"


class FrontendService:
    """See `parley.platform.lifecycle.Service`."""

    name = "frontend"
    config_model = FrontendConfig
    needs = NOTHING

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, FrontendConfig)
        self._ready = False
        self._draining = asyncio.Event()
        self.listeners = Listeners()
        self._sink = _LateSink()
        self.edge_uid = self.config.edge_uid or _kept_uid(context.platform.data_folder)

    @property
    def ready(self) -> bool:
        """Whether listeners are open and it is not draining."""
        return self._ready

    def register(self) -> None:
        """Makes all parts that need no open port, and puts the gRPC surface up."""
        context, config = self._context, self.config
        loop = asyncio.get_running_loop()
        rpc, clock = context.rpc, context.clock
        self._flows = Flows(wall=clock.wall)
        self._driver = Driver(clock, loop, timers=Timers(trying_after=0.0), limit=config.limits.transactions)
        self._calls = CallTracker(self.edge_uid)
        self._facts = FactPublisher(context.events, LOST_FACTS)
        self._local = LocalBranches(self._driver)
        self._loops = LoopDetector(
            derive_key(context.master_key, "loop"), lambda via: via.host.lower() in self._addresses.hosts
        )
        self._registrar = rpc.channel("parley.registrar.v1.Registrar").stub(RegistrarStub)
        self._cache = CredentialCache(
            BatchClient(
                rpc.channel("parley.addressbook.v1.AddressBook"), "/parley.addressbook.v1.AddressBook/GetCredentials",
                addressbook.GetCredentialsRequest, addressbook.GetCredentialsResponse,
            ),
            clock, keep_s=config.digest.cache_seconds, timeout_s=config.backend_seconds,
        )  # fmt: skip
        self._directory = BackendDirectory(
            BatchClient(
                rpc.channel("parley.registrar.v1.Registrar"), "/parley.registrar.v1.Registrar/Lookup",
                registrar.LookupRequest, registrar.LookupResponse,
            ),
            self._registrar, self._cache, rpc, timeout_s=config.backend_seconds,
        )  # fmt: skip
        nonces = Nonces(
            derive_key(context.master_key, "nonce"), self.edge_uid, lifetime=config.digest.nonce_seconds,
            started_at=clock.wall(),
        )  # fmt: skip
        guard = GuessGuard(config.limits, clock, loop)
        self._authenticator = DigestAuthenticator(
            domains=frozenset(domain.lower() for domain in config.domains), config=config.digest, guard=guard,
            nonces=nonces, cache=self._cache, check_foreign=self._directory.check_nonce,
            fake_key=derive_key(context.master_key, "nobody"), clock=clock, loop=loop,
        )  # fmt: skip
        self._contexts = self._kerberos_contexts(loop)
        service = self._contexts.service if self._contexts is not None else ""
        self._dsk = dsk_context(config)
        self._gate = Gate(
            self._authenticator, servers=sign_in_servers(config, service, self._dsk), cache=self._cache,
            guard=guard, clock=clock, flows=self._flows, contexts=self._contexts,
        )  # fmt: skip
        surface = EdgeSurface(self._authenticator, self._calls, self._new_deliveries)
        rpc.add_service(add_EdgeServicer_to_server, surface, _EDGE)

    def _kerberos_contexts(self, loop: asyncio.AbstractEventLoop) -> Contexts | None:
        accepting = acceptor_of(self.config, self._context.platform.data_folder)
        if accepting is None:
            return None
        service, acceptor = accepting
        once = BatchClient[registrar.OnceItem, registrar.OnceResult](
            self._context.rpc.channel("parley.registrar.v1.Registrar"), "/parley.registrar.v1.Registrar/TakeOnce",
            registrar.TakeOnceRequest, registrar.TakeOnceResponse,
        )  # fmt: skip
        return Contexts(acceptor, service, once, loop, timeout_s=self.config.backend_seconds)

    async def start(self) -> None:
        """Opens the ports and begins background work. Raises OSError when a port is taken."""
        context, config = self._context, self.config
        connections = Connections(config.limits, context.clock)
        bind = context.platform.bind
        files, own_ca = certificate_files(config, context.platform.data_folder, [config.advertise, *config.listen, bind])
        self._tls = ServerTls(files)
        peers = ServerTls(files, client_ca=config.tls.peer_ca) if config.tls.peer_ca is not None else None
        self.listeners = await open_listeners(config, bind, self._flows, self._sink, connections, self._tls, peers)
        self._flows.restore_udp_with(self.listeners.restore_udp)
        self._addresses = Addresses(
            advertised(config, self.listeners), FlowTokens(derive_key(context.master_key, "flow-token")), self.edge_uid,
            frozenset({config.advertise.lower()} - {""}),
        )  # fmt: skip
        self._wire(connections, files if not own_ca else None)
        self._begin()
        await self._meet_backends()
        self._ready = True
        logger.info(
            "listening for SIP on %s",
            ", ".join(f"{k} {h}:{p}" for k, (h, p) in self.listeners.by_transport.items()),
        )

    def _wire(self, connections: Connections, files: CertificateFiles | None) -> None:
        """Puts together what deals with messages."""
        context, config = self._context, self.config
        loop = asyncio.get_running_loop()
        domains = frozenset(domain.lower() for domain in config.domains)
        outgoing = OutgoingConnections(self._flows, self._sink, connections, self.listeners.udp, client_context(files=files))
        resolver = Resolver(
            nameservers=config.outbound.nameservers or None, port=config.outbound.nameserver_port, ipv6=config.outbound.ipv6
        )
        outside = Outside(
            frozenset(domain.lower() for domain in config.outbound.domains), resolver, outgoing, self.edge_uid,
            self._addresses, connect_s=config.outbound.connect_seconds, spawn=context.tasks.once,
        )  # fmt: skip
        self._applications = Applications(self._connect_application, self.edge_uid)
        self._peers = PeerEdges(self)
        self.proxy = ProxyCore(
            edge_uid=self.edge_uid, driver=self._driver, clock=context.clock, flows=self._flows, local=self._local,
            peers=self._peers, addresses=self._addresses, authenticator=self._gate,
            directory=self._directory, table=RoutingTable(config.domains, self._rows()), loops=self._loops,
            calls=self._calls, facts=self._facts, tracer=context.tracer, spawn=context.tasks.once,
            applications=self._applications, outside=outside, answer_here=answer_here, timer_c=config.timer_c,
            patience=Patience(
                flow_s=config.flow_grace_seconds, edge_s=config.edge_grace_seconds, dialog_s=config.dialog_grace_seconds
            ),
            leaving=Leaving(lambda: self._dispatcher.draining, lambda: self._dispatcher.ending),
        )  # fmt: skip
        registration = Registration(
            domains=domains, authenticator=self._gate,
            registrar=BatchClient(
                context.rpc.channel("parley.registrar.v1.Registrar"), "/parley.registrar.v1.Registrar/Update",
                registrar.UpdateRequest, registrar.UpdateResponse,
            ),
            addresses=self._addresses, edge_uid=self.edge_uid, clock=context.clock, tracer=context.tracer,
            timeout_s=config.backend_seconds, flow_grace_s=config.flow_grace_seconds,
            edge_grace_s=config.edge_grace_seconds,
            dialect=CommunicatorDialect(config.server_name, config.communicator.keep_alive_seconds),
        )  # fmt: skip
        self._dispatcher = Dispatcher(
            domains=domains, limits=config.limits, addresses=self._addresses, registration=registration,
            gate=self._gate, proxy=self.proxy, clock=context.clock, loop=loop,
            header_line=HEADER_LINE if self._contexts is not None else DEFAULT_LIMITS.header_line,
        )  # fmt: skip
        self._sink.target = self._dispatcher

    def _begin(self) -> None:
        context, config = self._context, self.config
        rpc_addresses = context.rpc.addresses
        address = context.platform.rpc.advertise or (rpc_addresses[0] if rpc_addresses else f"local:{self.edge_uid}")
        self._lease = LeaseKeeper(
            self._registrar, self.edge_uid, address, config.lease_seconds, first_connection=self._flows.first_id
        )
        context.tasks.spawn("frontend lease", self._lease.run())
        context.tasks.spawn("frontend facts", self._facts.run())
        context.tasks.spawn("frontend sweep", self._sweep())
        changes = context.events.subscribe("parley.users", UserChanged, self._on_user_changed)
        context.tasks.once("frontend users", self._cache.forget_once(changes))

    async def _meet_backends(self) -> None:
        """Waits a while for the registrar and the address book: without them clients are sent away with 503."""
        try:
            async with asyncio.timeout(_BACKENDS_S):
                await self._lease.begun.wait()
                while not await self._is_book_there():
                    await asyncio.sleep(_BACKENDS_PAUSE_S)
        except TimeoutError:
            logger.warning("the registrar or the address book is not within reach; clients are told 503 meanwhile")

    async def _is_book_there(self) -> bool:
        try:
            await self._directory.exists(f"sip:{self.edge_uid}@{self.config.domains[0]}", "")
        except RpcError:
            return False
        return True

    async def _on_user_changed(self, event: Event) -> None:
        await self._cache.on_user_changed(event)
        await self._gate.on_user_changed(event)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            sweep(self._flows, self._context.clock.monotonic())
            if self._tls.reload_if_changed() and self._dsk is not None:
                renew(self._dsk, self.config)
            for fact in self._calls.sweep(self._context.clock.wall()):
                self._facts.publish(TOPIC, fact.call_id, fact)

    def deliver_client(self, address: str) -> DeliverClient:
        """A stream to another front end; see `services.frontend.proxying.peers.ChannelSource`."""
        channel = self._context.rpc.channel(_EDGE, address)
        return DuplexClient(channel, f"/{_EDGE}/Deliver", edge_pb2.DeliverRequest, edge_pb2.DeliverResponse)

    def _connect_application(self, name: str) -> ApplicationClient:
        target = self._context.platform.rpc.targets.get(name)
        here = name in self._context.applications
        if not target and not here:
            raise ValueError(f"the application {name} has no address; set platform.rpc.targets.{name}")
        service = "parley.sip.v1.Application"
        channel = self._context.rpc.channel(service, None if here else target)
        return DuplexClient(channel, f"/{service}/Handle", application_pb2.HandleRequest, application_pb2.HandleResponse)

    def _rows(self) -> list[RouteRow]:
        """The rows of applications: those of the configuration, then the usual ones of applications that are there."""
        targets, here = self._context.platform.rpc.targets, self._context.applications
        usual = [row for row in APPLICATION_ROWS if row.application in here or row.application in targets]
        return [*_configured(self.config), *usual]

    def _new_deliveries(self) -> Deliveries:
        return Deliveries(
            self.edge_uid, self._flows, self._local, self._addresses, Branches(self._loops, self.edge_uid),
            self._context.tracer, self.proxy.note_dialog_request, self.proxy.handle, lambda: self._dispatcher.draining,
            lambda: self._dispatcher.ending,
        )  # fmt: skip

    async def drain(self, seconds: float) -> None:
        """Sends new work elsewhere and waits for calls to end; then closes connections, spread out."""
        self._ready = False
        self._draining.clear()
        self._dispatcher.draining = True
        deadline = asyncio.get_running_loop().time() + min(seconds, self.config.drain_seconds)
        while len(self._calls) and asyncio.get_running_loop().time() < deadline - 1:
            await asyncio.sleep(0.1)
        self._dispatcher.ending = True
        await asyncio.sleep(min(ACK_S, max(0.0, deadline - asyncio.get_running_loop().time()) / 2))
        table = self._driver.table
        giving_up = asyncio.get_running_loop().call_at(deadline - _LAST_REFUSALS_S, give_up, table)
        try:
            await close_connections(self._flows, lambda: waiting_connections(table, self._local), until=deadline)
        finally:
            giving_up.cancel()

    def cancel_drain(self) -> None:
        """Takes new work again; connections that were closed come back by themselves."""
        self._dispatcher.draining = self._dispatcher.ending = False
        self._ready = True

    def remaining(self) -> Mapping[str, int]:
        """Calls that go on, and connections; an association of UDP is none, and nobody closes it."""
        return {"calls": len(self._calls), "connections": sum(flow.transport != "UDP" for flow in self._flows)}

    def holds_datagrams(self, *, ending: bool) -> bool:
        """To its end where that comes; else while phones on UDP have calls here, or wait for an answer."""
        return ending or self._calls.have_udp or waits_over_udp(self._driver.table)

    async def stop(self) -> None:
        """Closes ports, connections and streams."""
        self._ready = False
        self._driver.close()
        await self._lease.release(keep_bindings=not self.config.edge_uid)
        await self._facts.flush(2.0)
        await self.listeners.close()
        for flow in self._flows:
            flow.close()
        if self._contexts is not None:
            self._contexts.close()
        await self._peers.stop()
        await self._applications.stop()


class _LateSink:
    """Takes messages from ports that open before all is put together."""

    def __init__(self) -> None:
        self.target: Dispatcher | None = None

    def on_message(self, data: bytes, flow: Flow) -> None:
        """Passes on."""
        if self.target is not None:
            self.target.on_message(data, flow)

    def on_framing_error(self, error: SipParseError, flow: Flow) -> None:
        """Passes on."""
        if self.target is not None:
            self.target.on_framing_error(error, flow)

    def on_closed(self, flow: Flow) -> None:
        """Passes on."""
        if self.target is not None:
            self.target.on_closed(flow)


def _kept_uid(data: Path) -> str:
    """A uid that outlives restarts, kept with the data."""
    path = data / "edge-uid"
    if path.exists():
        return path.read_text().strip()
    uid = secrets.token_hex(8)
    write_private(path, uid + "\n")
    return uid


def _configured(config: FrontendConfig) -> list[RouteRow]:
    """The configured part of the routing table."""
    return [
        RouteRow(
            Destination.APPLICATION,
            row.application,
            frozenset(method.upper() for method in row.methods),
            frozenset(event.lower() for event in row.events),
            row.opaque.lower(),
            frozenset(domain.lower() for domain in row.domains),
            row.user,
        )
        for row in config.applications
    ]
