"""Opens the ports that the configuration names, and says under which addresses clients reach them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parley.platform.addresses import is_wildcard
from parley.platform.tls import CertificateFiles, DevelopmentCa, ServerTls
from services.frontend.config import FrontendConfig
from services.frontend.flows import Flow, Flows
from services.frontend.transports.sink import MessageSink
from services.frontend.transports.stream import Connections, StreamListener
from services.frontend.transports.udp import UdpListener
from services.frontend.transports.websocket import WebSocketListener

logger = logging.getLogger(__name__)


@dataclass
class Listeners:
    """All open ports of a front end."""

    udp: list[UdpListener] = field(default_factory=list)
    streams: list[StreamListener] = field(default_factory=list)
    websockets: list[WebSocketListener] = field(default_factory=list)
    by_transport: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Listen address by transport, ports resolved; "PEERS" for trusted servers; "UDP6" and so on: the first of IPv6."""

    def note(self, transport: str, local: tuple[str, int]) -> None:
        """Keeps the first address of a transport, and its first one of IPv6."""
        self.by_transport.setdefault(transport, local)
        if ":" in local[0]:
            self.by_transport.setdefault(transport + "6", local)

    def restore_udp(self, connection_id: int) -> Flow | None:
        """The UDP flow that a number stands for."""
        for listener in self.udp:
            flow = listener.restore(connection_id)
            if flow is not None:
                return flow
        return None

    def stop_accepting(self) -> None:
        """Takes no further connections; those that are open go on."""
        for listener in self.streams:
            listener.close()

    async def close(self) -> None:
        """Closes all ports."""
        self.stop_accepting()
        for udp in self.udp:
            udp.close()
        for websocket in self.websockets:
            await websocket.close()


def certificate_files(config: FrontendConfig, data: Path, hosts: Sequence[str]) -> tuple[CertificateFiles, bool]:
    """The configured certificate, or one of the development CA; whether it is the latter."""
    tls = config.tls
    if tls.certificate is not None and tls.key is not None:
        return CertificateFiles(tls.certificate, tls.key), False
    names = dict.fromkeys([*hosts, *config.domains, "localhost", "127.0.0.1", "::1"])
    return DevelopmentCa(data / "tls").issue("frontend", [name for name in names if not is_wildcard(name)]), True


async def open_listeners(
    config: FrontendConfig, bind: str, flows: Flows, sink: MessageSink, connections: Connections, tls: ServerTls,
    peers: ServerTls | None,
) -> Listeners:  # fmt: skip
    """Opens every port; closes those it opened when one fails. Raises OSError that names the port."""
    opened = Listeners()
    try:
        for host in config.listen or [bind]:
            await _open_host(opened, config, host, flows, sink, connections, tls, peers)
    except OSError:
        await opened.close()
        raise
    return opened


async def _open_host(
    opened: Listeners, config: FrontendConfig, host: str, flows: Flows, sink: MessageSink, connections: Connections,
    tls: ServerTls, peers: ServerTls | None,
) -> None:  # fmt: skip
    ports = config.ports
    origins = frozenset(config.websocket_origins)
    if ports.udp >= 0:
        listener = UdpListener(len(opened.udp), flows, sink, max_flows=config.limits.udp_flows)
        _named("UDP", host, ports.udp, lambda: listener.open(host, ports.udp, reuse_port=config.reuse_port))
        opened.udp.append(listener)
        opened.note("UDP", listener.local)
    for transport, port, context in (("TCP", ports.tcp, None), ("TLS", ports.tls, tls.context)):
        if port >= 0:
            stream = StreamListener(transport, flows, sink, connections, context=context)
            await _open_named(transport, host, port, stream)
            opened.streams.append(stream)
            opened.note(transport, stream.local)
    if ports.peers >= 0 and peers is not None:
        names = frozenset(name.lower() for name in config.trusted_peers)
        stream = StreamListener("TLS", flows, sink, connections, context=peers.context, trusted_names=names)
        await _open_named("peers", host, ports.peers, stream)
        opened.streams.append(stream)
        opened.note("PEERS", stream.local)
    for transport, port, context in (("WS", ports.ws, None), ("WSS", ports.wss, tls.context)):
        if port >= 0:
            websocket = WebSocketListener(transport, flows, sink, connections, context=context, origins=origins)
            await _open_named(transport, host, port, websocket)
            opened.websockets.append(websocket)
            opened.note(transport, websocket.local)


async def _open_named(what: str, host: str, port: int, listener: StreamListener | WebSocketListener) -> None:
    try:
        await listener.open(host, port)
    except OSError as error:
        raise _explained(what, host, port, error) from None


def _named(what: str, host: str, port: int, action: object) -> None:
    try:
        action()  # type: ignore[operator]  # a function without arguments
    except OSError as error:
        raise _explained(what, host, port, error) from None


def _explained(what: str, host: str, port: int, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"cannot listen on {host} port {port} for SIP over {what}: {error.strerror or error}; "
        f"another server may use the port, see frontend.ports.{what.lower()}",
    )


def advertised(config: FrontendConfig, opened: Listeners) -> dict[str, tuple[str, int]]:
    """Host and port by transport, as clients and other servers use them; see `Addresses`."""
    result: dict[str, tuple[str, int]] = {}
    for transport, (host, port) in opened.by_transport.items():
        name = config.advertise or (host if not is_wildcard(host) else config.domains[0])
        if ":" in name and not name.startswith("["):
            name = f"[{name}]"
        result[transport] = (name, config.advertise_ports.get(transport.lower().removesuffix("6"), port))
    fallback = next(iter(result.values()), (config.domains[0], 5060))
    for transport in ("UDP", "TCP", "TLS", "WS", "WSS"):
        result.setdefault(transport, fallback)
    return result
