"""Presence fan-out: one user changes, a thousand watch. Time from the change to each notification, and CPU for one.

Phones watch over UDP and answer each NOTIFY; of Parley also as many Communicators over TCP, whose BENOTIFY are signed and
not answered. Kamailio's presence module keeps subscriptions and publications in memory. CPU is that of all processes of a
server between the first change and the last notification, less what it takes when nothing happens.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from bench.cpu import cpu_seconds
from bench.peers.kamailio import Kamailio
from bench.peers.parley import NAME, PASSWORD, ParleyPresence
from bench.tables import Result
from bench.watchers import Communicator, Phone
from parley.presence.standard.availability import pidf_of
from parley.presence.standard.pidf import build_pidf
from tests.support.sip_client import DOMAIN

WATCHED = "watched"
_ROUNDS = 6
_IDLE_S = 3.0
_PATIENCE_S = 30.0
_AT_ONCE = 8


class Server(Protocol):
    """A presence server that is loaded."""

    label: str

    async def start(self) -> None:
        """Starts it, users included."""

    async def stop(self) -> None:
        """Ends it."""

    def pids(self) -> set[int]:
        """All its processes."""

    def ports(self, transport: str) -> Sequence[int]:
        """Where it takes SIP: one port for each front end."""


class Arrivals:
    """When the notifications of the present round came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.stray = 0
        self._open = False

    def arrived(self, at: float) -> None:
        """One came."""
        if self._open:
            self.times.append(at)
        else:
            self.stray += 1

    def begin(self) -> None:
        """A new round."""
        self.times = []
        self._open = True

    async def all(self, wanted: int) -> None:
        """Returns when all came, or nobody believes in it any more."""
        until = time.monotonic() + _PATIENCE_S
        while len(self.times) < wanted and time.monotonic() < until:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # what comes twice is counted too
        self._open = False


async def fan_out(work: Path, count: int) -> Result:
    """All servers, one after the other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    names = [WATCHED, *(f"user{index}" for index in range(count))]
    result = Result(
        f"Presence: one change told to {count} watchers, {_ROUNDS} times",
        ["server", "watchers", "p50 ms", "p99 ms", "last ms", "CPU µs each", "missing", "twice"],
    )
    cost = []
    rows: list[tuple[Server, str, Callable[[Server, Arrivals, int], Awaitable[None]]]] = [
        (ParleyPresence(work / "phones", names), "phones, UDP", _phones),
        (ParleyPresence(work / "communicators", names), "Communicator, TCP", _communicators),
        (Kamailio(work / "kamailio", presence=True), "phones, UDP", _phones),
    ]
    for server, kind, watch in rows:
        await server.start()
        try:
            cost.append(await _measure(result, server, kind, watch, count))
        finally:
            await server.stop()
    result.notes.append(f"{NAME} / Kamailio, CPU for a NOTIFY to a phone: {cost[0] / cost[2]:.2f}")
    return result


async def _measure(
    result: Result, server: Server, kind: str, watch: Callable[[Server, Arrivals, int], Awaitable[None]], count: int
) -> float:
    """Adds the row of one server; CPU microseconds for one notification."""
    arrivals = Arrivals()
    publisher = await Phone(WATCHED, PASSWORD, arrivals.arrived).connect(server.ports("udp")[0])
    tag = (await _publish(publisher, 15_500, ""))[1]
    pids = server.pids()
    await asyncio.sleep(2)
    idle = await _rate(pids, _IDLE_S)
    await watch(server, arrivals, count)
    await _settled(pids, idle)
    delays: list[float] = []
    last: list[float] = []
    missing = more = 0
    before, begun = cpu_seconds(pids), time.monotonic()
    for number in range(_ROUNDS):
        arrivals.begin()
        at, tag = await _publish(publisher, 6_500 if number % 2 == 0 else 3_500, tag)
        await arrivals.all(count)
        times = sorted(arrived - at for arrived in arrivals.times)
        missing += max(0, count - len(times))
        more += max(0, len(times) - count)
        delays += times[:count]
        last += times[count - 1 : count]
        await asyncio.sleep(0.5)
    used = cpu_seconds(pids) - before - idle * (time.monotonic() - begun)
    delays.sort()
    cost = used / max(1, len(delays)) * 1e6
    result.rows.append(
        [server.label, kind, f"{delays[len(delays) // 2] * 1e3:.0f}", f"{delays[len(delays) * 99 // 100] * 1e3:.0f}",
         f"{max(last, default=0) * 1e3:.0f}", f"{cost:.0f}", str(missing), str(more)]
    )  # fmt: skip
    return cost


async def _rate(pids: set[int], seconds: float) -> float:
    """CPU seconds a second that processes take."""
    before = cpu_seconds(pids)
    await asyncio.sleep(seconds)
    return (cpu_seconds(pids) - before) / seconds


async def _settled(pids: set[int], idle: float) -> None:
    """Returns when what the subscriptions brought along is done."""
    until = time.monotonic() + _PATIENCE_S
    while await _rate(pids, 1) > 1.2 * idle + 0.02 and time.monotonic() < until:
        pass


async def _publish(phone: Phone, availability: int, tag: str) -> tuple[float, str]:
    """Publishes a state; when the PUBLISH that counted left, and the entity tag."""
    address = f"sip:{WATCHED}@{DOMAIN}"
    headers = [("Event", "presence"), ("Expires", "3000")]
    if tag:
        headers.append(("SIP-If-Match", tag))
    headers.append(("Content-Type", "application/pidf+xml"))
    request = phone.request("PUBLISH", address, headers=headers, body=build_pidf(pidf_of(address, availability)))
    phone.send(bytes(request))
    answer = await phone.response()
    at = time.perf_counter()
    if answer.status in (401, 407):
        phone.send(bytes(phone.authorize(request, answer)))
        answer = await phone.response()
    if answer.status != 200:
        raise RuntimeError(f"the state was not taken: {answer.status} {answer.reason}")
    return at, answer.get("SIP-ETag") or ""


async def _phones(server: Server, arrivals: Arrivals, count: int) -> None:
    async def one(index: int) -> None:
        ports = server.ports("udp")
        phone = await Phone(f"user{index}", PASSWORD, arrivals.arrived).connect(ports[index % len(ports)])
        await phone.watch(WATCHED)

    await _all(one, count)


async def _communicators(server: Server, arrivals: Arrivals, count: int) -> None:
    async def one(index: int) -> None:
        ports = server.ports("tcp")
        client = Communicator(f"user{index}", PASSWORD, arrivals.arrived, epid=f"{index:012x}")
        await client.connect(ports[index % len(ports)])
        if (await client.sign_in()).status != 200:
            raise RuntimeError(f"{client.user} could not sign in")
        await client.watch(WATCHED)

    await _all(one, count)


async def _all(one: Callable[[int], Awaitable[None]], count: int) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def gated(index: int) -> None:
        async with gate:
            await one(index)

    await asyncio.gather(*(gated(index) for index in range(count)))
