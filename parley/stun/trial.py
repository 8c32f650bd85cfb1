"""One way through a relay, tried: two allocations that are each other's peers, and packets there and back."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time
from dataclasses import dataclass
from typing import Final

from parley.stun.addresses import Address
from parley.stun.probe import Probe
from parley.stun.turn.allocations import Transport

INTERVAL_S: Final = 0.02
"""Between two packets, as between those of a voice."""
_PAYLOAD: Final = 172
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one way to the relay. Delays in milliseconds, there and back through two relays."""

    transport: str
    server: str
    problem: str = ""
    mapped: str = ""
    relayed: str = ""
    sent: int = 0
    lost: int = 0
    median_ms: float = 0.0
    worst_ms: float = 0.0


async def there_and_back(
    server: Address, transport: Transport, name: str, user: str, password: str, packets: int,
    trust: ssl.SSLContext | None = None,
) -> Trial:  # fmt: skip
    """Sends packets from one allocation to the other, which sends them back. Raises ProbeError, OSError, TimeoutError.

    ``name``: that the certificate must have, where the transport is encrypted.
    """
    delays: dict[int, float] = {}
    sent: dict[int, float] = {}

    def came_back(payload: bytes) -> None:
        number = int.from_bytes(payload[:4], "big")
        if number in sent:
            delays.setdefault(number, time.perf_counter() - sent[number])

    async with (
        Probe.open(server, transport, tls=trust, name=name) as one,
        Probe.open(server, transport, tls=trust, name=name) as other,
    ):
        mapped = await one.binding()
        relayed, peer = await one.allocate(user, password), await other.allocate(user, password)
        await one.bind(peer)
        await other.bind(relayed)
        one.on_data, other.on_data = came_back, other.send
        for number in range(packets):
            sent[number] = time.perf_counter()
            one.send(number.to_bytes(4, "big") + bytes(_PAYLOAD - 4))
            await asyncio.sleep(INTERVAL_S)
        until = time.perf_counter() + _PATIENCE_S
        while len(delays) < packets and time.perf_counter() < until:
            await asyncio.sleep(INTERVAL_S)
        await one.release()
        await other.release()
    times = [delay * 1000 for delay in delays.values()] or [0.0]
    return Trial(
        str(transport), str(server), "", str(mapped), str(relayed), packets, packets - len(delays),
        round(statistics.median(times), 2), round(max(times), 2),
    )  # fmt: skip
