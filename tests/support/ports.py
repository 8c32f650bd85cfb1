"""Ports that nobody listens on.

Processes that run tests side by side, of whatever checkout, take theirs from blocks of their own, so none takes what another
has just looked at. A block belongs to who holds the abstract socket of its name; the kernel lets it go with the process.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 20_000
"""Above what softphones take for media by default."""
_BLOCK = 256


class _Share:
    """The ports of this process: one block, and another only when all of those are in use."""

    def __init__(self) -> None:
        first_ephemeral = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
        # The kernel never gives a port below that to an outgoing connection.
        self._blocks = [range(first, first + _BLOCK) for first in range(LOWEST, first_ephemeral - _BLOCK + 1, _BLOCK)]
        random.SystemRandom().shuffle(self._blocks)
        self._holders: list[socket.socket] = []
        self._ports: list[int] = []
        self._at = 0

    def next(self, is_free: Callable[[int], bool]) -> int:
        """The next one of ours that is free."""
        while True:
            for _ in self._ports:
                self._at = (self._at + 1) % len(self._ports)
                if is_free(self._ports[self._at]):
                    return self._ports[self._at]
            self._take_block()

    def _take_block(self) -> None:
        while self._blocks:
            block = self._blocks.pop()
            holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                holder.bind(f"\0parley-test-ports-{block.start}")
            except OSError:
                holder.close()
                continue
            self._holders.append(holder)
            self._ports += block
            return
        raise AssertionError("no port is left for tests")


_SHARE = _Share()


def free_port(host: str = "127.0.0.1") -> int:
    """A port free for TCP and UDP, for servers that cannot be told to choose one themselves.

    A port that the kernel chose (bind to 0) may be taken by any outgoing connection before its server starts; these
    are outside of that range.
    """

    def is_free(port: int) -> bool:
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
                    probe.bind((host, port))
        except OSError:
            return False
        return True

    return _SHARE.next(is_free)
