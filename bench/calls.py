"""Call set-up through two front ends: CPU per call and post-dial delay, against two Kamailios in a row.

The callee is registered at the second server, the caller calls through the first. SIPp plays both. Post-dial delay is
from the first INVITE (which is challenged) to 180.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.callee import Callee
from bench.cpu import cpu_seconds
from bench.sipp import run_sipp, write_users
from bench.tables import Result
from tests.support.ports import free_port


class Pair(Protocol):
    """Two servers in a row."""

    label: str
    caller_address: str
    callee_address: str

    async def start(self) -> None:
        """Starts both."""

    async def stop(self) -> None:
        """Ends both."""

    def pids(self) -> set[int]:
        """All processes of both, databases included."""


async def set_up(
    pairs: Sequence[Pair], names: Sequence[str], password: str, work: Path, *, rate: float, seconds: float
) -> Result:
    """Calls at a steady rate: INVITE, 407, INVITE, 180, 200, ACK, BYE."""
    users = write_users(work / "users.csv", names, password)
    result = Result(
        f"Call set-up through two front ends, {rate:.0f} calls/s",
        ["servers", "CPU µs/call", "post-dial p50 ms", "p99 ms", "failed", "cores busy"],
    )
    cost: dict[str, float] = {}
    for pair in pairs:
        await pair.start()
        try:
            async with Callee(free_port()) as callee:
                registered = await run_sipp(
                    "register.xml", pair.callee_address, users=users, rate=200, calls=len(names), port=free_port(),
                    contact_port=callee.port,
                )  # fmt: skip
                if registered.failed:
                    raise RuntimeError(f"{pair.label}: {registered.failed} phones could not register")
                await run_sipp(
                    "caller.xml",
                    pair.caller_address,
                    users=users,
                    rate=rate,
                    calls=int(rate),
                    port=free_port(),
                )
                pids = pair.pids()
                before = cpu_seconds(pids)
                load = await run_sipp(
                    "caller.xml", pair.caller_address, users=users, rate=rate, calls=int(rate * seconds),
                    port=free_port(),
                )  # fmt: skip
                used = cpu_seconds(pids) - before
        finally:
            await pair.stop()
        cost[pair.label] = used / max(1, load.successful) * 1e6
        result.rows.append(
            [pair.label, f"{cost[pair.label]:.0f}", f"{load.p50_ms:.0f}", f"{load.p99_ms:.0f}", str(load.failed),
             f"{used / load.seconds:.2f}"]
        )  # fmt: skip
    labels = list(cost)
    for label in labels[1:]:
        result.notes.append(f"{labels[0]} / {label}: {cost[labels[0]] / cost[label]:.2f}")
    return result
