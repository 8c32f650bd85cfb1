"""Sockets to listen on: bound, non-blocking, of one address family alone; connections that notice a peer that is gone."""

from __future__ import annotations

import socket
from typing import Final

_BACKLOG: Final = 1024


def open_udp(host: str, port: int, *, buffer: int, reuse_port: bool = False) -> socket.socket:
    """A socket for datagrams. ``buffer``: bytes asked for each way. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, buffer)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def open_tcp(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def keep_alive(connection: socket.socket, *, idle_s: int, every_s: int, tries: int) -> None:
    """Has the kernel ask a silent TCP peer, and end the connection when it does not answer (RFC 9293 section 3.8.4).

    A machine that fails says no goodbye: without this a connection at rest looks whole until something is sent on it, and
    that is lost. It is asked after ``idle_s`` seconds, then every ``every_s``, and given up after ``tries``. Sockets of
    other families are left as they are.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", idle_s), ("TCP_KEEPINTVL", every_s), ("TCP_KEEPCNT", tries)):
        option = getattr(socket, name, None)  # not every system has all three
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
