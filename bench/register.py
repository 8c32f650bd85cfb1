"""REGISTER with digest by SIPp: CPU per acknowledged request, response times, failures.

The same load goes to Parley, to Kamailio that keeps registrations in memory, and to Kamailio that writes them through to
Redis, one after the other in one run. A request counts when its 200 came; it takes two messages each way, as the first
is challenged. CPU is that of all processes of the server, its database included, and not of SIPp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cpu import cpu_seconds
from bench.peers.base import Peer
from bench.sipp import LoadResult, run_sipp, write_users
from bench.tables import Result
from tests.support.ports import free_port


@dataclass(frozen=True, slots=True)
class Step:
    """What one peer did at one rate."""

    load: LoadResult
    cpu_us: float
    busy: float
    """CPU seconds per second: 1.0 is one core."""


async def measure_step(peer: Peer, users: Path, rate: float, seconds: float) -> Step:
    """Loads one peer at one rate."""
    pids = peer.pids()
    before = cpu_seconds(pids)
    load = await run_sipp(
        "register.xml",
        peer.address,
        users=users,
        rate=rate,
        calls=int(rate * seconds),
        port=free_port(),
        timeout=90,
    )
    used = cpu_seconds(pids) - before
    return Step(load, used / max(1, load.successful) * 1e6, used / load.seconds if load.seconds else 0.0)


async def steady(peers: Sequence[Peer], names: Sequence[str], password: str, work: Path, *, seconds: float) -> Result:
    """1 000 requests a second, and the ratios that the project holds itself to."""
    users = write_users(work / "users.csv", names, password)
    result = Result(
        "REGISTER with digest, 1 000/s",
        ["server", "CPU µs/request", "p50 ms", "p99 ms", "failed", "retransmitted", "cores busy"],
    )
    cost: dict[str, float] = {}
    for peer in peers:
        await peer.start()
        try:
            await measure_step(peer, users, 1000, 3)  # every user once: the rest are refreshes
            step = await measure_step(peer, users, 1000, seconds)
        finally:
            await peer.stop()
        cost[peer.label] = step.cpu_us
        load = step.load
        result.rows.append(
            [peer.label, f"{step.cpu_us:.0f}", f"{load.p50_ms:.0f}", f"{load.p99_ms:.0f}", str(load.failed),
             str(load.retransmissions), f"{step.busy:.2f}"]
        )  # fmt: skip
    ours = cost[peers[0].label]
    for label, other in list(cost.items())[1:]:
        result.notes.append(f"{peers[0].label} / {label}: {ours / other:.2f}")
    return result


async def rising(peers: Sequence[Peer], names: Sequence[str], password: str, work: Path, *, seconds: float) -> Result:
    """Raises the rate by half until one in a hundred fails or the rate is not reached; shows the last good step."""
    users = write_users(work / "users.csv", names, password)
    result = Result(
        "REGISTER with digest, rising until it breaks",
        ["server", "highest rate/s", "CPU µs/request there", "p50 ms", "p99 ms", "cores busy"],
    )
    for peer in peers:
        await peer.start()
        best: Step | None = None
        try:
            await measure_step(peer, users, 1000, 2)
            rate = 1000.0
            while rate < 40_000:
                step = await measure_step(peer, users, rate, seconds)
                load = step.load
                if load.failed > load.successful // 100 or load.retransmissions > load.successful // 20:
                    break
                if load.rate < rate * 0.85:
                    if best is None or load.rate > best.load.rate:
                        best = step
                    break
                best = step
                rate *= 1.5
                await asyncio.sleep(0.5)
        finally:
            await peer.stop()
        if best is not None:
            result.rows.append(
                [peer.label, f"{best.load.rate:.0f}", f"{best.cpu_us:.0f}", f"{best.load.p50_ms:.0f}",
                 f"{best.load.p99_ms:.0f}", f"{best.busy:.2f}"]
            )  # fmt: skip
    return result
