"""A worker: sockets in, allocations and packets, reports out.

It knows nothing of gRPC, events or other workers. What it has to tell goes out as `WorkerReport` messages, whoever takes
them: the service in the same process calls it directly.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from parley.mras.credentials import MrasCredentials
from parley.mras.tokens import Tokens
from parley.platform.clock import Clock
from parley.platform.limits import RateLimiter
from parley.platform.telemetry.tracing import Tracer
from parley.platform.tls import CertificateFiles, ServerTls
from parley.proto.avedge.v1 import relay_pb2, worker_pb2
from parley.stun import dialects
from parley.stun.addresses import Address, Family
from parley.stun.codes import Method
from parley.stun.discovery import Discovery
from parley.stun.ms.codes import MsType
from parley.stun.ms.server import MsTurnServer
from parley.stun.turn.allocations import Allocation, Dialect, Flow, Transport
from parley.stun.turn.config import TurnConfig
from parley.stun.turn.credentials import ChainedCredentials, Credentials, StaticCredentials, TimeLimitedCredentials
from parley.stun.turn.observer import CloseReason
from parley.stun.turn.peers import DENIED, PeerPolicy
from parley.stun.turn.server import TurnServer
from parley.stun.turn.table import AllocationTable, Quotas
from services.avedge.carriers import Carriers, Path
from services.avedge.config import AvEdgeConfig
from services.avedge.dtls import DtlsServer, DtlsSession
from services.avedge.metrics import DROPPED, NATIVE
from services.avedge.planes.native import NativePlane, load_native
from services.avedge.planes.python import Own, PythonPlane
from services.avedge.ports import PortPool
from services.avedge.sockets import BoundSocket
from services.avedge.streams import Admission, StreamConnection, StreamPort
from services.avedge.tcp_relay import TcpRelay
from services.avedge.udp import Source, UdpListener

_SWEEP_S: Final = 1.0
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_UNTRACED: Final = (0, 401, 438)

_dropped_garbage = DROPPED.labels("garbage")
_dropped_classic = DROPPED.labels("rfc3489")

Report = Callable[[worker_pb2.WorkerReport], None]


@dataclass(frozen=True, slots=True)
class Keys:
    """What credentials are verified with. ``nonce``: 32 bytes; ``secret``: of time-limited ones; ``users``: passwords.

    ``mras``: what its tokens are made with.
    """

    nonce: bytes
    secret: bytes
    users: Mapping[str, str]
    mras: bytes


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is made with. ``relay_hosts``: advertised addresses by bound ones; ``loopback``: peers may be there."""

    number: int
    workers: int
    config: AvEdgeConfig
    relay_hosts: Mapping[str, str]
    keys: Keys
    files: CertificateFiles
    loopback: bool


class Worker:
    """Everything of one worker."""

    def __init__(self, settings: WorkerSettings, report: Report, clock: Clock, tracer: Tracer) -> None:
        config = settings.config
        self._settings = settings
        self._clock = clock
        self._limits = config.limits
        self._carriers = Carriers()
        relay = config.relay
        relay_ports = range(relay.first, relay.last + 1)
        self._peers = peer_policy(settings, relay_ports)
        self._ports = PortPool(
            settings.relay_hosts, relay.first, relay.last, worker=settings.number, workers=settings.workers
        )
        own = Own(dict(settings.relay_hosts), relay_ports)
        self._tcp_relay = TcpRelay(self._carriers, own, config.limits.buffer_bytes, clock.monotonic)
        python = PythonPlane(self._ports, self._carriers, self._peers, own, self._tcp_relay, clock.monotonic)
        module = load_native(config.plane)
        self._native = (
            NativePlane(module, self._ports, python, settings.relay_hosts, self._peers.own, relay_ports) if module else None
        )
        self.plane: NativePlane | PythonPlane = self._native or python
        NATIVE.set(self._native is not None)
        self._watch = Watch(settings.number, report, clock, tracer)
        limits = config.limits
        quotas = Quotas(
            per_user=limits.allocations_per_user, per_source=limits.allocations_per_address, total=limits.allocations,
            connections=limits.connections_per_allocation, rate=limits.bytes_per_second,
        )  # fmt: skip
        self._table = AllocationTable(quotas, self.plane, self._watch)
        turn_config = TurnConfig(
            config.credentials.realm, settings.keys.nonce, families=self._ports.families, peers=self._peers,
            tcp=settings.workers == 1, worker=settings.number, discovery=discovery_of(config), software="Parley",
        )  # fmt: skip
        challenges = RateLimiter(limits.challenges_per_second, limits.challenge_burst)
        self._server = TurnServer(
            turn_config, credentials_of(settings), self._ports, self.plane, self._table, self._watch,
            self._tcp_relay, wall=clock.wall, challenges=challenges,
        )  # fmt: skip
        self._tcp_relay.serve(self._server)
        self._ms_server = MsTurnServer(
            turn_config, MrasCredentials(Tokens([settings.keys.mras]), grace_s=config.credentials.grace_hours * 3600),
            self._ports, self.plane, self._table, self._watch, self.plane, wall=clock.wall, challenges=challenges,
        )  # fmt: skip
        self._tls = ServerTls(settings.files, alpn=("stun.turn", "stun.nat-discovery"))
        self._admission = Admission(limits)
        self._udp: list[UdpListener] = []
        self._tcp: list[StreamPort] = []
        self._dtls: dict[UdpListener, DtlsServer] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def allocations(self) -> int:
        """How many there are."""
        return len(self._table)

    def start(self, sockets: list[BoundSocket]) -> None:
        """Begins to serve the sockets, which are the worker's from now on. Raises SSL errors for an unusable certificate."""
        clock = self._clock.monotonic
        for bound in sockets:
            if bound.kind == "udp":
                listener = UdpListener(bound.socket, bound.local, self._on_datagram, clock)
                self._carriers.add_port(bound.local, listener)
                self._dtls[listener] = DtlsServer(
                    self._settings.files, listener.send, _DtlsClients(self, listener), most=self._limits.handshakes,
                    handshake_s=self._limits.handshake_seconds, idle_s=self._limits.idle_seconds,
                )  # fmt: skip
                self._udp.append(listener)
                if self._native is not None:
                    self._native.listen(bound.socket, bound.local, listener.take)
                else:
                    listener.start()
            else:
                port = StreamPort(
                    bound.socket, bound.local, lambda: self._tls.context, self, self._admission, self._limits, clock
                )
                self._tcp.append(port)
                port.start()
        self._sweep()

    def drain(self, alternates: Mapping[Family, str], domain: str = "") -> None:
        """New allocations go elsewhere, or are refused; those that live go on."""
        self._server.drain(dict(alternates), domain)
        self._ms_server.drain(alternates.get(Family.IPV4, ""))

    def resume(self) -> None:
        """Takes new allocations again."""
        self._server.resume()
        self._ms_server.resume()

    async def stop(self) -> None:
        """Ends all allocations and closes all sockets."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._table.close_all(CloseReason.SHUTDOWN)
        self._server.reservations.close()
        self._tcp_relay.close()
        self._watch.flush(len(self._table), self._admission.total)
        for dtls in self._dtls.values():
            dtls.close()
        if self._native is not None:
            self._native.stop()
        for listener in self._udp:
            listener.close()
        for port in self._tcp:
            await port.close()

    def listing(self, limit: int) -> list[relay_pb2.AllocationState]:
        """The allocations, oldest first, at most ``limit``."""
        states: list[relay_pb2.AllocationState] = []
        for allocation in self._table:
            if len(states) >= limit:
                break
            self.plane.traffic(allocation)
            states.append(self._watch.state_of(allocation))
        return states

    # Messages of clients

    def control(self, flow: Flow, data: bytes, send: Callable[[bytes], object], now: float) -> None:
        """Answers a control message."""
        self._watch.begin()
        reply = self._server.receive(flow, data, now)
        if reply is not None:
            send(reply)

    def ms_control(self, flow: Flow, data: bytes, send: Callable[[bytes], object], now: float) -> None:
        """Answers a control message of MS-TURN."""
        self._watch.begin()
        reply = self._ms_server.receive(flow, data, now)
        if reply is not None:
            send(reply)

    def _on_datagram(self, listener: UdpListener, data: bytes, source: Source, now: float) -> None:
        kind = dialects.datagram(data)
        if kind is dialects.Datagram.STUN:
            self.control(listener.flow_of(source), data, lambda reply: listener.send(reply, source), now)
        elif kind is dialects.Datagram.MS_TURN:
            self.ms_control(listener.flow_of(source), data, lambda reply: listener.send(reply, source), now)
        elif kind is dialects.Datagram.DTLS:
            self._dtls[listener].receive(data, source, now)
        elif kind is dialects.Datagram.CLASSIC_STUN:
            _dropped_classic.inc()
        else:
            _dropped_garbage.inc()

    def connected(self, connection: StreamConnection) -> None:
        """See `services.avedge.streams.StreamUser`."""
        self._carriers.add(connection.flow, connection)

    def received(self, connection: StreamConnection, message: bytes) -> None:
        """See `services.avedge.streams.StreamUser`."""
        if connection.dialect is Dialect.MS_TURN:
            self.ms_control(connection.flow, message, connection.reply, self._clock.monotonic())
        elif message[0] & 0xC0:
            _dropped_garbage.inc()
        else:
            self.control(connection.flow, message, connection.send, self._clock.monotonic())

    def disconnected(self, connection: StreamConnection) -> None:
        """See `services.avedge.streams.StreamUser`."""
        self.lost(connection.flow)

    def add_association(self, flow: Flow, carrier: DtlsClient) -> None:
        """A DTLS handshake is complete."""
        self._carriers.add(flow, carrier)

    def lost(self, flow: Flow) -> None:
        """A connection or association is gone, and its allocation with it."""
        now = self._clock.monotonic()
        self._server.closed(flow, now)
        self._ms_server.closed(flow, now)
        self._carriers.remove(flow)

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        self._server.expire(now)
        if self._tls.reload_if_changed():
            for dtls in self._dtls.values():
                dtls.renew(self._settings.files)
        for dtls in self._dtls.values():
            dtls.sweep(now, _is_in_use)
        for port in self._tcp:
            port.sweep(now)
        if self._native is not None:
            for cause, count in self._native.new_drops().items():
                if count:
                    DROPPED.labels(cause).inc(count)
        self._watch.flush(len(self._table), self._admission.total)
        self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)


class DtlsClient:
    """One association; a `services.avedge.carriers.Carrier` of its flow."""

    def __init__(self, session: DtlsSession, flow: Flow) -> None:
        self.flow = flow
        self.path: Path | None = None
        self._session = session

    def sender(self, client: Address) -> Callable[[bytes], bool]:
        """A function that sends a datagram, encrypted."""
        return self._session.send

    def attach(self, client: Address, path: Path) -> None:
        """It has an allocation."""
        self.path = path

    def detach(self, client: Address) -> None:
        """It has none any more."""
        self.path = None


class _DtlsClients:
    """The associations of one port, see `services.avedge.dtls.DtlsUser`."""

    def __init__(self, worker: Worker, listener: UdpListener) -> None:
        self._worker = worker
        self._listener = listener

    def opened(self, session: DtlsSession) -> None:
        flow = Flow(Transport.DTLS, Address(*session.client), self._listener.local)
        session.user_data = client = DtlsClient(session, flow)
        self._worker.add_association(flow, client)

    def received(self, session: DtlsSession, data: bytes) -> None:
        client = session.user_data
        assert isinstance(client, DtlsClient)
        now = session.active_at
        if client.path is not None and client.path(data, now):
            return
        if dialects.datagram(data) is dialects.Datagram.STUN:
            self._worker.control(client.flow, data, session.send, now)
        else:
            _dropped_garbage.inc()

    def closed(self, session: DtlsSession) -> None:
        client = session.user_data
        assert isinstance(client, DtlsClient)
        self._worker.lost(client.flow)


def _is_in_use(session: DtlsSession) -> bool:
    return isinstance(session.user_data, DtlsClient) and session.user_data.path is not None


class Watch:
    """Turns what the servers report into reports and spans, see `parley.stun.turn.observer.Observer`.

    Refusals are counted and told once a second, so that a flood of them costs no more than its packets. A challenge is no
    span of its own: anybody can ask for any number of them.
    """

    def __init__(self, number: int, report: Report, clock: Clock, tracer: Tracer) -> None:
        self._number = number
        self._report = report
        self._clock = clock
        self._tracer = tracer
        self._began_ns = 0
        self._refusals: Counter[tuple[str, int, int]] = Counter()
        self._refreshed = 0

    def begin(self) -> None:
        """A control message is about to be answered."""
        if self._tracer.enabled:
            self._began_ns = time.time_ns()

    def opened(self, allocation: Allocation) -> None:
        """See Observer."""
        self._span("relay.allocate", allocation.flow, allocation.dialect, 0)
        self._report(worker_pb2.WorkerReport(opened=self.state_of(allocation)))

    def refreshed(self, allocation: Allocation) -> None:
        """See Observer."""
        self._span("relay.refresh", allocation.flow, allocation.dialect, 0)
        self._refreshed += 1

    def closed(self, allocation: Allocation, reason: CloseReason) -> None:
        """See Observer."""
        ended = worker_pb2.Ended(allocation=self.state_of(allocation), reason=str(reason))
        self._report(worker_pb2.WorkerReport(ended=ended))

    def refused(self, flow: Flow, dialect: Dialect, method: int, code: int) -> None:
        """See Observer."""
        self._refusals[str(dialect), method, code] += 1
        if code not in _UNTRACED and method in (Method.ALLOCATE, Method.REFRESH):
            self._span("relay.allocate" if method == Method.ALLOCATE else "relay.refresh", flow, dialect, code)

    def flush(self, allocations: int, connections: int) -> None:
        """Tells what was counted since the last time."""
        counts = worker_pb2.Counts(refreshed=self._refreshed, allocations=allocations, connections=connections)
        for (dialect, method, code), count in self._refusals.items():
            counts.refusals.add(dialect=dialect, method=_name_of(dialect, method), code=code, count=count)
        self._refusals.clear()
        self._refreshed = 0
        self._report(worker_pb2.WorkerReport(counts=counts))

    def state_of(self, allocation: Allocation) -> relay_pb2.AllocationState:
        """An allocation as it is told to others."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        traffic = allocation.traffic
        return relay_pb2.AllocationState(
            number=allocation.number, worker=self._number, dialect=str(allocation.dialect),
            transport=str(allocation.flow.transport), username=allocation.user or allocation.username,
            client=str(allocation.flow.client), relays=[str(relay.advertised) for relay in allocation.relays],
            opened_at_ms=round((wall - now + allocation.opened_at) * 1000),
            expires_at_ms=round((wall - now + allocation.expires_at) * 1000), permissions=len(allocation.permissions),
            channels=len(allocation.channels), tcp_relay=allocation.relays[0].stream,
            traffic=relay_pb2.Traffic(
                sent_packets=traffic.sent_packets, sent_bytes=traffic.sent_bytes, received_packets=traffic.received_packets,
                received_bytes=traffic.received_bytes, dropped_packets=traffic.dropped_packets,
            ),
        )  # fmt: skip

    def _span(self, name: str, flow: Flow, dialect: Dialect, code: int) -> None:
        if not self._tracer.enabled:
            return
        span = self._tracer.start(name, kind="server", parent="", start_ns=self._began_ns or None)
        span.set("network.transport", str(flow.transport))
        span.set("turn.dialect", str(dialect))
        span.set("turn.error_code", code)
        span.end("ok" if not code else "error")


def _name_of(dialect: str, method: int) -> str:
    kinds = MsType if dialect == Dialect.MS_TURN else Method
    try:
        return kinds(method).name.lower()
    except ValueError:
        return "unknown"


def peer_policy(settings: WorkerSettings, relay_ports: range) -> PeerPolicy:
    """Where packets may be relayed to."""
    peers = settings.config.peers
    allow = [*peers.allow, *(_LOOPBACK if settings.loopback else ())]
    own = {*settings.relay_hosts.keys(), *settings.relay_hosts.values()}
    if settings.loopback:
        own = {host for host in own if not ip_address(host).is_loopback}
    return PeerPolicy(
        allow, (*DENIED, *peers.deny), relay_ports=relay_ports,
        own=own,
    )  # fmt: skip


def credentials_of(settings: WorkerSettings) -> Credentials:
    """Who may allocate."""
    realm = settings.config.credentials.realm
    return ChainedCredentials(StaticCredentials(settings.keys.users, realm), TimeLimitedCredentials([settings.keys.secret]))


def discovery_of(config: AvEdgeConfig) -> Discovery | None:
    """The sockets of NAT behaviour discovery; None when it is not offered."""
    discovery, ports = config.discovery, config.ports
    if not discovery.hosts:
        return None
    first, second = discovery.hosts
    advertised = dict(zip((first, second), discovery.advertised, strict=True)) if discovery.advertised else {}
    return Discovery(Address(first, ports.udp), Address(second, ports.discovery), advertised)
