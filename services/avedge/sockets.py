"""The ports that clients come to, opened before anything is served."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, replace
from typing import Literal

from parley.platform.sockets import open_tcp, open_udp
from parley.stun.addresses import Address
from services.avedge.config import AvEdgeConfig


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


def open_groups(config: AvEdgeConfig, hosts: list[str], workers: int) -> list[list[BoundSocket]]:
    """Like `open_sockets` for several workers: for each a socket on every port, among which the kernel deals out clients.

    Raises OSError that names the port.
    """
    first = open_sockets(config, hosts)  # alone at first, as two edges that share ports would take each other's clients
    for bound in first:
        bound.socket.close()
    groups: list[list[BoundSocket]] = []
    try:
        for _ in range(workers):
            group: list[BoundSocket] = []
            groups.append(group)
            for bound in first:
                group.append(replace(bound, socket=_share(bound, config.limits.receive_buffer_bytes)))
    except OSError:
        for bound in (bound for group in groups for bound in group):
            bound.socket.close()
        raise
    # What came before the last was bound may belong to another worker than the one that would read it.
    for bound in (bound for group in groups for bound in group if bound.kind == "udp"):
        with contextlib.suppress(OSError):
            while True:
                bound.socket.recv(1)
    return groups


def _share(bound: BoundSocket, buffer: int) -> socket.socket:
    host, port = bound.local
    if bound.kind == "udp":
        return open_udp(host, port, buffer=buffer, reuse_port=True)
    return open_tcp(host, port, reuse_port=True)


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
