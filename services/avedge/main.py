"""Wires the A/V edge."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from parley.mras.tokens import Tokens
from parley.platform.addresses import is_wildcard
from parley.platform.certificates import require_identity
from parley.platform.events.publisher import FactPublisher
from parley.platform.keys import derive_key
from parley.platform.lifecycle import NOTHING, ServiceContext
from parley.platform.tls import CertificateFiles, DevelopmentCa
from parley.proto.avedge.v1 import relay_pb2
from parley.proto.avedge.v1.relay_pb2_grpc import add_RelayServicer_to_server
from parley.stun.addresses import Address, Family
from parley.stun.turn.credentials import TimeLimitedCredentials
from services.avedge import mras
from services.avedge.config import AvEdgeConfig
from services.avedge.facts import LOST_FACTS, Facts
from services.avedge.issuing import Issuer, Reach, mras_key
from services.avedge.reaching import advertised_hosts, relay_hosts
from services.avedge.relays import OwnProcess, Relays
from services.avedge.selftest import SelfTest
from services.avedge.service import RelaySurface
from services.avedge.sockets import BoundSocket, open_groups, open_sockets
from services.avedge.supervisor import Supervisor
from services.avedge.worker import Keys, Worker, WorkerSettings

logger = logging.getLogger(__name__)

_LOOK_S = 0.1


class AvEdgeService:
    """See `parley.platform.lifecycle.Service`."""

    name = "avedge"
    config_model = AvEdgeConfig
    needs = NOTHING

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, AvEdgeConfig)
        self._serving = False
        self._draining = False
        self._relays: Relays | None = None
        self._sockets: list[BoundSocket] = []
        self._advertised: dict[str, str] = {}
        self._rung = ""
        self._self_test: SelfTest | None = None
        self._edge_uid = secrets.token_hex(8)

    def register(self) -> None:
        """Puts the gRPC surface up."""
        surface = RelaySurface(lambda: self.relays, self.status, self._context.clock)
        self._context.rpc.add_service(add_RelayServicer_to_server, surface, "parley.avedge.v1.Relay")
        keys, credentials = keys_of(self.config, self._context.master_key), self.config.credentials
        issuer = Issuer(
            Tokens([keys.mras]), TimeLimitedCredentials([keys.secret]), self.reach, self._context.clock,
            longest_s=credentials.hours * 3600,
        )  # fmt: skip
        mras.register(self._context, issuer, credentials.realm)

    def reach(self) -> Reach:
        """How clients reach the relay; clients of MS-TURN need an address of IPv4."""
        hosts = sorted(self._advertised.values(), key=lambda host: ":" in host)
        ports: dict[str, int] = {}
        for bound in self._sockets:
            if bound.name != "discovery":
                ports.setdefault(bound.name, bound.local.port)
        return Reach(self.config.host_name or (hosts[0] if hosts else ""), **ports)

    @property
    def relays(self) -> Relays:
        """What relays; only after the start."""
        assert self._relays is not None
        return self._relays

    @property
    def ready(self) -> bool:
        """See `parley.platform.lifecycle.Service`."""
        return self._serving and self.relays.ready

    async def start(self) -> None:
        """Opens the ports. Raises OSError when one is taken."""
        context, config = self._context, self.config
        listen = config.listen or [context.platform.bind]
        local = relay_hosts(config.relay.hosts, listen)
        self._advertised, self._rung = await advertised_hosts(config.advertised, local)
        self._publisher = FactPublisher(context.events, LOST_FACTS)
        facts = Facts(self._edge_uid, self._publisher, context.clock)
        names = [config.host_name, *self._advertised.values(), *listen]
        settings = WorkerSettings(
            0, max(1, config.workers), config, self._advertised, keys_of(config, context.master_key),
            certificate_files(config, context.platform.data_folder, names), may_reach_loopback(config, listen),
        )  # fmt: skip
        await self._open(settings, facts, listen)
        context.tasks.spawn("relay facts", self._publisher.run())
        if config.advertised.self_test:
            self._self_test = SelfTest(self._sockets, self._advertised, settings.keys.secret, context.clock)
            context.tasks.once("relay self-test", self._self_test.run())
        self._serving = True
        logger.info(
            "relaying for clients on %s, known as %s (%s)",
            ", ".join(f"{bound.kind.upper()} {bound.local}" for bound in self._sockets),
            ", ".join(self._advertised.values()), self._rung,
        )  # fmt: skip

    async def _open(self, settings: WorkerSettings, facts: Facts, listen: list[str]) -> None:
        context, config = self._context, self.config
        if config.workers:
            groups = open_groups(config, listen, config.workers)
            self._sockets = groups[0]
            supervisor = Supervisor(settings, context.platform, facts, context.tasks, context.clock)
            await supervisor.start(groups)
            self._relays = supervisor
        else:
            self._sockets = open_sockets(config, listen)
            worker = Worker(settings, lambda report: facts.report(0, report), context.clock, context.tracer)
            worker.start(self._sockets)
            self._relays = OwnProcess(worker)

    def status(self) -> relay_pb2.GetStatusResponse:
        """Where it listens and how it is reached."""
        return relay_pb2.GetStatusResponse(
            listeners=[
                relay_pb2.GetStatusResponse.Listener(kind=bound.kind, host=bound.local.host, port=bound.local.port)
                for bound in self._sockets
            ],
            advertised=list(self._advertised.values()), advertised_from=self._rung,
            self_tests=self._self_test.outcomes if self._self_test is not None else [],
            workers=self.relays.workers, draining=self._draining, realm=self.config.credentials.realm,
            plane=self.relays.plane,
        )  # fmt: skip

    async def drain(self, seconds: float) -> None:
        """Takes no new allocations and waits for those there are; sends clients elsewhere when another edge is known."""
        self._serving = False
        self._draining = True
        self.relays.drain(alternates_of(self.config))
        deadline = asyncio.get_running_loop().time() + min(seconds, self.config.drain_seconds)
        while self._draining and self.relays.allocations and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_S)

    def cancel_drain(self) -> None:
        """Takes new allocations again."""
        self._draining = False
        self.relays.resume()
        self._serving = True

    def remaining(self) -> Mapping[str, int]:
        """Allocations that go on."""
        return {"allocations": self._relays.allocations if self._relays is not None else 0}

    def holds_datagrams(self, *, ending: bool) -> bool:
        """While allocations go on: a client cannot take its own to another edge."""
        return self.remaining()["allocations"] > 0

    async def stop(self) -> None:
        """Ends all allocations and closes all ports."""
        self._serving = False
        if self._relays is not None:
            await self._relays.stop()
            await self._publisher.flush(2.0)


def keys_of(config: AvEdgeConfig, master_key: bytes) -> Keys:
    """What credentials are verified with; the same on every edge of an installation."""
    configured = config.credentials.shared_secret.get_secret_value()
    secret = configured.encode() if configured else derive_key(master_key, "relay-credentials")
    users = {name: password.get_secret_value() for name, password in config.credentials.users.items()}
    return Keys(derive_key(master_key, "relay-nonce"), secret, users, mras_key(master_key))


def certificate_files(config: AvEdgeConfig, data: Path, hosts: list[str]) -> CertificateFiles:
    """The configured certificate, or one of the development CA. Raises ConfigError when it is wrong."""
    if config.tls.certificate is not None and config.tls.key is not None:
        require_identity("avedge.tls", config.tls.certificate, config.tls.key)  # here: workers would say it one by one
        return CertificateFiles(config.tls.certificate, config.tls.key)
    names = dict.fromkeys([*hosts, config.credentials.realm, "localhost", "127.0.0.1", "::1"])
    return DevelopmentCa(data / "tls").issue("avedge", [name for name in names if name and not is_wildcard(name)])


def may_reach_loopback(config: AvEdgeConfig, listen: list[str]) -> bool:
    """Whether peers may be on this machine; see `PeerConfig.loopback`."""
    if config.peers.loopback == "auto":
        return all(ip_address(host).is_loopback for host in listen)
    return config.peers.loopback == "yes"


def alternates_of(config: AvEdgeConfig) -> dict[Family, str]:
    """For each family the host of another edge."""
    found: dict[Family, str] = {}
    for host in config.alternate:
        address = Address(str(ip_address(host)), 0)
        found.setdefault(address.family, address.host)
    return found
