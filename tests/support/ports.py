"""Ports that nobody listens on.

Processes that run tests side by side take theirs from shares of the range, so none takes what another has just looked at.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 20_000
"""Above what softphones take for media by default."""


def _candidates() -> list[int]:
    """The ports that the kernel never gives to an outgoing connection, in an order of this process's own."""
    first_ephemeral = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(range(LOWEST + process, first_ephemeral, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    random.SystemRandom().shuffle(ports)
    return ports


# Shared by all callers, so that no port is given twice to one process.
_NEXT = itertools.cycle(_candidates())


def free_port(host: str = "127.0.0.1") -> int:
    """A port free for TCP and UDP, for servers that cannot be told to choose one themselves.

    A port that the kernel chose (bind to 0) may be taken by any outgoing connection before its server starts; these
    are outside of that range.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in _NEXT:
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(family, kind) as probe:
                    probe.bind((host, port))
        except OSError:
            continue
        return port
    raise AssertionError("unreachable: the candidates repeat")
