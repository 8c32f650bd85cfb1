"""The steps of the relay: where it is, and packets through it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from typing import Final

from parley.proto.avedge.v1.credentials_pb2 import IceServer
from parley.selftest.report import StepFailed, expecting
from parley.stun.addresses import Address
from parley.stun.trial import there_and_back
from parley.stun.turn.allocations import Transport

PACKETS: Final = 25
_URL: Final = re.compile(r"turn:(\[[0-9a-fA-F:.]+\]|[^:?\[\]]+)(?::(\d+))?(?:\?transport=udp)?")


def udp_server(servers: Sequence[IceServer]) -> tuple[str, int]:
    """Host and port of the first TURN server over UDP. Raises StepFailed when there is none."""
    for server in servers:
        for url in server.urls:
            found = _URL.fullmatch(url)
            if found is not None:
                return found[1].strip("[]"), int(found[2] or 3478)
    urls = ", ".join(url for server in servers for url in server.urls)
    raise StepFailed("a TURN server over UDP among those that clients are told", urls or "none", "set avedge.ports.udp")


async def relay_packets(place: tuple[str, int], user: str, password: str, patience_s: float) -> str:
    """Two allocations, each the other's peer, and packets there and back."""
    host, port = place
    look_at = (
        f"is UDP port {port} of {host} open from here, and are the relay's ports open to itself (avedge.relay)? "
        "`parley edge test` tries TCP, TLS and DTLS as well"
    )
    with expecting("two allocations, and packets through both", look_at):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        async with asyncio.timeout(patience_s + 10):
            server = Address(str(found[0][4][0]), port)
            trial = await there_and_back(server, Transport.UDP, host, user, password, PACKETS)
    if trial.lost:
        raise StepFailed(f"{PACKETS} packets there and back", f"{trial.lost} of them were lost", look_at)
    return f"{PACKETS} packets through {trial.relayed}, {trial.median_ms:.1f} ms there and back"
