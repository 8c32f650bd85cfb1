"""The rpc side of a process: what it serves, on which addresses, and the channels it calls others through."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from parley.platform.rpc.channels import OPTIONS, Channel, remote_channel
from parley.platform.rpc.interceptors import ServerInterceptor
from parley.platform.telemetry.tracing import NO_TRACER, Tracer

logger = logging.getLogger(__name__)

LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
"""Names that the standard health service answers to; "" is readiness."""

Register = Callable[[Any, Any], None]
"""The generated ``add_<Service>Servicer_to_server``."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Files of this process's certificate and of the CA that all services share (PEM)."""

    certificate: Path
    key: Path
    ca: Path

    def server(self) -> grpc.ServerCredentials:
        """Credentials that demand a certificate of the caller; files that changed are read again."""
        seen: list[tuple[int, ...]] = [self._stamp()]

        def fetch() -> Any:
            stamp = self._stamp()
            if stamp == seen[0]:
                return None
            seen[0] = stamp
            return self._configuration()

        return grpc.dynamic_ssl_server_credentials(self._configuration(), fetch, require_client_authentication=True)

    def client(self) -> grpc.ChannelCredentials:
        """Credentials that show our certificate and check the other's."""
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes())

    def _configuration(self) -> Any:
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=self.ca.read_bytes())

    def _stamp(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in (self.certificate, self.key, self.ca))


class RpcHost:
    """One for each process."""

    def __init__(
        self,
        *,
        listen: Sequence[str] = (),
        targets: dict[str, str] | None = None,
        tls: MutualTls | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """``listen``: "host:port" (port 0: a free one) or "unix:/path"; ``targets``: by service, as "registrar"."""
        self._listen = list(listen)
        self._targets = dict(targets or {})
        self._tls = tls
        self._tracer = tracer
        self._servicers: dict[str, Any] = {}
        self._registrations: list[tuple[Register, Any]] = []
        self._server: Any = None
        self._health = HealthServicer()
        self._channels: list[Channel] = []
        self.addresses: list[str] = []
        """What it listens on, ports resolved; filled by `start`."""

    def add_service(self, register: Register, servicer: Any, name: str) -> None:
        """Serves ``servicer`` under its full name ("parley.registrar.v1.Registrar"), here and on the addresses."""
        self._servicers[name] = servicer
        self._registrations.append((register, servicer))

    def channel(self, service: str, target: str | None = None) -> Channel:
        """Calls to a service by full name: here if it is served here and no target is given, else over the network.

        Without a target the one configured for the area ("parley.<area>.v1...") is used.
        """
        if target is None:
            area = service.split(".")[1]
            configured = self._targets.get(area)
            channel = Channel(service, self._servicers.get, lambda: self._connect(configured, service))
        else:
            channel = Channel(service, lambda _: None, lambda: self._connect(target, service))
        self._channels.append(channel)
        return channel

    def _connect(self, target: str | None, service: str) -> Any:
        if not target:
            raise ValueError(f"no address is configured for {service}; set platform.rpc.targets.{service.split('.')[1]}")
        return remote_channel(target, self._tls.client() if self._tls else None)

    async def start(self) -> None:
        """Opens the addresses. Raises OSError when one is taken."""
        if not self._listen:
            return
        server = grpc.aio.server(interceptors=[ServerInterceptor(self._tracer)], options=OPTIONS)
        for register, servicer in self._registrations:
            register(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self.addresses = []
        for address in self._listen:
            try:
                if address.startswith("unix:"):
                    Path(address.removeprefix("unix:")).unlink(missing_ok=True)
                    server.add_insecure_port(address)
                    self.addresses.append(address)
                    continue
                if self._tls is not None:
                    port = server.add_secure_port(address, self._tls.server())
                else:
                    port = server.add_insecure_port(address)
            except RuntimeError as error:
                raise OSError(f"cannot listen on {address}: {error}") from None
            self.addresses.append(f"{address.rpartition(':')[0]}:{port}")
        await server.start()
        self._server = server
        await self.set_health(live=True, ready=False)

    async def set_health(self, *, live: bool = True, ready: bool) -> None:
        """What the health service says."""
        serving, not_serving = (
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        )
        await self._health.set(LIVENESS, serving if live else not_serving)
        await self._health.set(READINESS, serving if ready else not_serving)
        await self._health.set("", serving if ready else not_serving)

    async def stop(self, grace_s: float = 1.0) -> None:
        """Stops serving, then closes the channels."""
        if self._server is not None:
            await self.set_health(ready=False)
            await self._server.stop(grace_s)
            self._server = None
        for channel in self._channels:
            await channel.close()
