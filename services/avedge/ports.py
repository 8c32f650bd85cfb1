"""The ports that stand for clients.

Each worker has a share of the relay range: pairs of an even port and the odd one after it are dealt out in turn, so workers
never race for one, and a client that asks for a pair gets it from one worker. Ports are handed out in random order, which
makes them hard to guess (RFC 8656 section 21.1.5), and one that was given back is used again only after all others, so that
packets meant for its last owner have died out.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections import deque
from collections.abc import Mapping
from typing import Final

from parley.stun.addresses import Address, Family
from parley.stun.turn.allocations import Relay
from parley.stun.turn.plane import NoPortLeft

_BUFFER: Final = 1024 * 1024
_TRIES: Final = 64
_BACKLOG: Final = 64
_NOT_OURS: Final = (errno.EADDRINUSE, errno.EACCES)


class PortPool:
    """See `parley.stun.turn.plane.RelayPorts`; a relay's handle is its bound, non-blocking socket; those of TCP listen."""

    def __init__(
        self, hosts: Mapping[str, str], first: int, last: int, *, worker: int = 0, workers: int = 1,
        shuffle: random.Random | None = None,
    ) -> None:  # fmt: skip
        """``hosts``: for each family the address to bind, and the one that peers know it by."""
        self._hosts = {Address(local, 0).family: (local, advertised) for local, advertised in hosts.items()}
        mine = [port for port in range(first, last + 1) if (port - first) // 2 % workers == worker]
        order = shuffle or random.SystemRandom()
        self._free: dict[tuple[Family, bool], deque[int]] = {}
        for family in self._hosts:
            for stream in (False, True):
                order.shuffle(mine)
                self._free[family, stream] = deque(mine)

    @property
    def families(self) -> frozenset[Family]:
        """Which families relays can be had of."""
        return frozenset(self._hosts)

    def left(self, family: Family, *, stream: bool) -> int:
        """How many ports are free."""
        return len(self._free.get((family, stream), ()))

    def open(self, family: Family, *, stream: bool, even: bool = False, port: int = 0) -> Relay:
        """Binds a port of the relay range. Raises NoPortLeft."""
        free = self._free.get((family, stream))
        if free is None:
            raise NoPortLeft(f"no relay address is of {family.name}")
        local, advertised = self._hosts[family]
        taken: list[int] = []
        try:
            while free and len(taken) < _TRIES:
                number = _take(free, even=even, port=port)
                if not number:
                    break
                sock = _bind(family, local, number, stream=stream)
                if sock is not None:
                    return Relay(Address(advertised, number), Address(local, number), stream, sock)
                taken.append(number)
                if port:
                    break
            raise NoPortLeft("no such relay port is free")
        finally:
            free.extendleft(taken)

    def close(self, relay: Relay) -> None:
        """Closes a relay's socket and gives its port back."""
        sock: socket.socket = relay.handle
        if sock.fileno() >= 0:
            sock.close()
            self._free[relay.family, relay.stream].appendleft(relay.local.port)


def _take(free: deque[int], *, even: bool, port: int) -> int:
    """Takes a port out; 0 when there is none of that kind."""
    if port:
        with contextlib.suppress(ValueError):
            free.remove(port)
            return port
        return 0
    if not even:
        return free.pop()
    for number in reversed(free):
        if number % 2 == 0:
            free.remove(number)
            return number
    return 0


def _bind(family: Family, host: str, port: int, *, stream: bool) -> socket.socket | None:
    """A bound socket; None when another program has the port. Raises NoPortLeft when the system has no sockets left."""
    kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(kind, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        sock.setblocking(False)
        if kind == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if stream:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.bind((host, port))
        if stream:
            # Connections to peers leave from the port that peers connect to. It is shared with them only now that it is
            # ours: said before, it would let another edge of this machine have the port as well.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.listen(_BACKLOG)
    except OSError as error:
        if sock is not None:
            sock.close()
        if error.errno in _NOT_OURS:
            return None
        raise NoPortLeft(f"a relay port cannot be opened: {error.strerror or error}") from None
    return sock
