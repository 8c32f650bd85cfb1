"""The ports that clients come to, opened before anything is served."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Literal

from parley.stun.addresses import Address
from services.avedge.config import AvEdgeConfig
from services.avedge.udp import open_tcp, open_udp


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """One open port. ``name``: of its setting in `EdgePorts`."""

    name: str
    kind: Literal["udp", "tcp"]
    local: Address
    socket: socket.socket


def open_sockets(config: AvEdgeConfig, hosts: list[str]) -> list[BoundSocket]:
    """Opens every port on every host, one that two settings name once. Raises OSError that names the port."""
    opened: list[BoundSocket] = []
    seen: set[tuple[str, str, int]] = set()
    ports = config.ports
    try:
        for host in hosts:
            discovery = ports.discovery if host in config.discovery.hosts else -1
            for name, kind, port in (
                ("udp", "udp", ports.udp), ("dtls", "udp", ports.dtls), ("tcp", "tcp", ports.tcp), ("tls", "tcp", ports.tls),
                ("https", "tcp", ports.https), ("discovery", "udp", discovery),
            ):  # fmt: skip
                if port < 0 or (port and (host, kind, port) in seen):
                    continue
                seen.add((host, kind, port))
                opened.append(_open(name, kind, host, port, config.limits.receive_buffer_bytes))
    except OSError:
        for bound in opened:
            bound.socket.close()
        raise
    return opened


def _open(name: str, kind: str, host: str, port: int, buffer: int) -> BoundSocket:
    try:
        sock = open_udp(host, port, buffer=buffer) if kind == "udp" else open_tcp(host, port)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot listen on {host} port {port} for TURN over {kind.upper()}: {error.strerror or error}; "
            f"another server may use the port, see avedge.ports.{name}",
        ) from None
    return BoundSocket(name, "udp" if kind == "udp" else "tcp", Address(host, sock.getsockname()[1]), sock)
