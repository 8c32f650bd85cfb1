"""The rpc side of a process: what it serves, on which addresses, and the channels it calls others through."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from parley.platform.certificates import (
    problem_of_age,
    problem_of_chain,
    problem_of_name,
    problems_of_ca,
    problems_of_identity,
)
from parley.platform.config import ConfigError, RpcTls, is_local
from parley.platform.rpc.channels import OPTIONS, Channel, remote_channel
from parley.platform.rpc.health import LIVENESS, READINESS, STARTUP, Health
from parley.platform.rpc.interceptors import ServerInterceptor
from parley.platform.rpc.local import LocalServices
from parley.platform.rpc.streams import method_of
from parley.platform.telemetry.certificates import watch_certificate
from parley.platform.telemetry.tracing import NO_TRACER, Tracer

logger = logging.getLogger(__name__)

__all__ = ["LIVENESS", "READINESS", "STARTUP", "MutualTls", "Register", "RpcHost"]

Register = Callable[[Any, Any], None]
"""The generated ``add_<Service>Servicer_to_server``."""

MAX_AGE_S: Final = 30.0
"""How old a connection gets, in seconds."""
_STAMP_S: Final = 10.0
"""How often certificate files are looked at, at most."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Files of this process's certificate and of the CA that all services share (PEM)."""

    certificate: Path
    key: Path
    ca: Path
    server_name: str = ""
    """Name that certificates of others must have, for peers that are reached by their IP address; "": the target's."""

    @classmethod
    def of(cls, config: RpcTls | None) -> MutualTls | None:
        """As ``platform.rpc.tls`` says; None without it."""
        if config is None:
            return None
        watch_certificate(config.certificate.expanduser())
        watch_certificate(config.ca.expanduser(), authority=True)
        return cls(config.certificate.expanduser(), config.key.expanduser(), config.ca.expanduser(), config.server_name)

    def check(self) -> None:
        """Raises ConfigError with what is wrong with the files."""
        where = "platform.rpc.tls"
        problems = problems_of_identity(where, self.certificate, self.key)
        problems += problems_of_ca(f"{where}.ca", self.ca)
        if not problems:
            problems = problem_of_age(f"{where}.certificate", self.certificate)
            problems += problem_of_chain(where, self.certificate, self.ca)
            problems += problem_of_name(where, self.certificate, self.server_name) if self.server_name else []
        if problems:
            raise ConfigError(problems)

    def server(self) -> grpc.ServerCredentials:
        """Credentials that demand a certificate of the caller; files that changed are read again."""
        seen: list[tuple[int, ...]] = [self.stamp()]

        def fetch() -> Any:
            try:
                stamp = self.stamp()
                if stamp == seen[0]:
                    return None
                configuration = self._configuration()
            except OSError as error:
                logger.warning("certificates are not read again: %s", error)
                return None
            seen[0] = stamp
            return configuration

        return grpc.dynamic_ssl_server_credentials(self._configuration(), fetch, require_client_authentication=True)

    def client(self) -> grpc.ChannelCredentials:
        """Credentials that show our certificate and check the other's. Raises OSError."""
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes())

    def stamp(self) -> tuple[int, ...]:
        """Changes when a file does. Raises OSError."""
        return tuple(path.stat().st_mtime_ns for path in (self.certificate, self.key, self.ca))

    def _configuration(self) -> Any:
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=self.ca.read_bytes())


class _Connector:
    """See `parley.platform.rpc.channels.Connector`."""

    def __init__(self, service: str, target: str | None, tls: MutualTls | None) -> None:
        self._service = service
        self._target = target
        self._tls = tls if target is None or not target.startswith("unix:") else None
        self._stamp: tuple[int, ...] = ()
        self._looked_at = 0.0

    def connect(self) -> Any:
        """A new channel to the target."""
        if not self._target:
            area = self._service.split(".")[1]
            raise ValueError(f"no address is configured for {self._service}; set platform.rpc.targets.{area}")
        if self._tls is None:
            return remote_channel(self._target, None)
        self._stamp = self._tls.stamp()
        self._looked_at = time.monotonic()
        return remote_channel(self._target, self._tls.client(), server_name=self._tls.server_name)

    def is_stale(self) -> bool:
        """Whether the certificate files changed."""
        if self._tls is None or time.monotonic() - self._looked_at < _STAMP_S:
            return False
        self._looked_at = time.monotonic()
        try:
            return self._tls.stamp() != self._stamp
        except OSError:
            return False


class RpcHost:
    """One for each process."""

    def __init__(
        self,
        *,
        listen: Sequence[str] = (),
        targets: dict[str, str] | None = None,
        tls: MutualTls | None = None,
        tracer: Tracer = NO_TRACER,
        health: Health | None = None,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        """``listen``: "host:port" (port 0: a free one) or "unix:/path"; ``targets``: by service, as "registrar".

        ``max_age_s``: after that time, a tenth more or less, clients are asked to connect anew. They ask DNS again then, and
        find servers that were added; what is under way on the old connection ends there.
        """
        self._listen = list(listen)
        self._targets = dict(targets or {})
        self._tls = tls
        self._local = LocalServices(tracer)
        self._registrations: list[tuple[Register, Any]] = []
        self._server: Any = None
        self._health = health or Health()
        self._max_age_s = max_age_s
        self._channels: list[Channel] = []
        self.addresses: list[str] = []
        """What it listens on, ports resolved; filled by `start`."""

    def add_service(self, register: Register, servicer: Any, name: str, tracer: Tracer | None = None) -> None:
        """Serves ``servicer`` under its full name ("parley.registrar.v1.Registrar"), here and on the addresses.

        ``tracer``: of the service, for the spans of its unary calls; by default the host's.
        """
        self._local.add(name, servicer, tracer)
        self._registrations.append((register, servicer))

    def channel(self, service: str, target: str | None = None) -> Channel:
        """Calls to a service by full name: here if it is served here and no target is given, else over the network.

        Without a target the one configured for the area ("parley.<area>.v1...") is used. A target "local:..." is this
        process.
        """
        here = target is None or target.startswith("local:")
        if target is None:
            target = self._targets.get(service.split(".")[1])
        elif here:
            target = None
        channel = Channel(service, self._local if here else None, _Connector(service, target, self._tls))
        self._channels.append(channel)
        return channel

    async def start(self) -> None:
        """Opens the addresses. Raises OSError when one is taken or a certificate cannot be read."""
        if not self._listen:
            return
        options = [*OPTIONS, ("grpc.so_reuseport", 0), ("grpc.max_connection_age_ms", round(self._max_age_s * 1000))]
        server = grpc.aio.server(interceptors=[ServerInterceptor(self._local.tracer_of)], options=options)
        for register, servicer in self._registrations:
            register(servicer, server)
        self._health.add_to(server)
        self.addresses = [self._open(server, address) for address in self._listen]
        await server.start()
        self._server = server
        await self.set_health(ready=False)

    def _open(self, server: Any, address: str) -> str:
        """Opens one address; gives it with its port."""
        try:
            if address.startswith("unix:"):
                Path(address.removeprefix("unix:")).unlink(missing_ok=True)
                server.add_insecure_port(address)
                return address
            if self._tls is not None:
                port = server.add_secure_port(address, self._tls.server())
            else:
                if not is_local(address):
                    logger.warning("%s takes calls of anybody, unencrypted: set platform.rpc.tls", address)
                port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        return f"{address.rpartition(':')[0]}:{port}"

    async def set_health(self, *, ready: bool) -> None:
        """What the health service says."""
        await self._health.set(ready=ready, in_service=ready)

    async def stop(self, grace_s: float = 1.0) -> None:
        """Stops serving, then closes the channels.

        Clients of batches are asked to go elsewhere and get the results of what they sent; what lasts longer than the grace
        (seconds) is broken off.
        """
        server, self._server = self._server, None
        if server is not None:
            await self.set_health(ready=False)
            for _, servicer in self._registrations:
                _leave(servicer)
            await server.stop(grace_s)
        for channel in self._channels:
            await channel.close()


def _leave(servicer: Any) -> None:
    for handler in list(getattr(servicer, "__dict__", {}).values()):
        method = method_of(handler)
        if method is not None:
            method.leave()
