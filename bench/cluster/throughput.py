"""REGISTER with digest at one, two and three front ends and as many registrars: rate, and CPU of the pods per request.

The load comes from several addresses to both nodes, by SIPp on the same machine, so the cores are shared with it: what is
to be seen is that more pods do not cost more per request, not that two cores do more than two.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from bench.cluster.site import Site
from bench.sipp import LoadResult, run_sipp, write_users
from bench.tables import Result
from tests.support.cluster_install import Installation, aside
from tests.support.parley_server import PASSWORD
from tests.support.ports import free_port

_REPLICAS = (1, 2, 3)
_STEADY = 240.0
_SECONDS = 10.0
_GROWTH = 1.5
_SOURCES = 6
_CONTACT = 5070
"""Always the same port: another one each time would be another binding, until there are too many."""


@dataclass(frozen=True)
class Step:
    """What a load came to."""

    loads: list[LoadResult]
    cpu: dict[str, float]
    """CPU seconds by component."""

    @property
    def done(self) -> int:
        """Requests answered with 200."""
        return sum(load.successful for load in self.loads)

    @property
    def failed(self) -> int:
        """Requests that were not."""
        return sum(load.failed for load in self.loads)

    @property
    def rate(self) -> float:
        """A second."""
        return self.done / max(load.seconds for load in self.loads)

    @property
    def cost(self) -> float:
        """CPU microseconds of all pods per request."""
        return sum(self.cpu.values()) / max(1, self.done) * 1e6

    @property
    def p99_ms(self) -> float:
        """The worst of the sources."""
        return max(load.p99_ms for load in self.loads)


async def measure(site: Site) -> Result:
    """Steps up until one in a hundred fails or the rate is not reached, for each number of replicas."""
    parley = site.parley
    result = Result(
        f"REGISTER with digest in the cluster: {_STEADY:.0f}/s, then rising",
        ["front ends and registrars", "CPU µs/request", "front ends", "registrars", "Valkey", "p99 ms", "highest rate/s"],
    )
    figures = {}
    before = {name: len(parley.pods(name)) for name in ("frontend", "registrar")}
    try:
        for replicas in _REPLICAS:
            for name in before:
                await aside(parley.scale, name, replicas)
            for name in before:
                await aside(parley.ready, name, replicas)
            await _load(site, _STEADY, 3.0)  # credentials are known afterwards
            steady = await _load(site, _STEADY, _SECONDS)
            highest = await _rise(site, steady)
            each = {name: seconds / max(1, steady.done) * 1e6 for name, seconds in steady.cpu.items()}
            result.rows.append(
                [str(replicas), f"{steady.cost:.0f}", f"{each['frontend']:.0f}", f"{each['registrar']:.0f}",
                 f"{each['valkey']:.0f}", f"{steady.p99_ms:.0f}", f"{highest:.0f}"]
            )  # fmt: skip
            figures[str(replicas)] = {"cpu_us_per_request": round(steady.cost), "highest_rate_per_second": round(highest),
                                      "failed": steady.failed, "p99_ms": round(steady.p99_ms)}  # fmt: skip
    finally:
        for name, replicas in before.items():
            await aside(parley.scale, name, replicas)
        await aside(parley.sound)
    site.figures["throughput"] = figures
    return result


async def _rise(site: Site, steady: Step) -> float:
    best, rate = steady.rate, _STEADY * _GROWTH
    while True:
        step = await _load(site, rate, _SECONDS / 2)
        if step.failed > step.done // 100 or step.rate < rate * 0.85:
            return max(best, step.rate if step.failed <= step.done // 100 else 0.0)
        best, rate = step.rate, rate * _GROWTH


async def _load(site: Site, rate: float, seconds: float) -> Step:
    """That many requests a second from several addresses, in turn to each node that has a front end."""
    parley = site.parley
    nodes = {parley.cluster.node_ips[pod.node] for pod in await aside(parley.pods, "frontend")}
    edges = cycle(f"{host}:{port}" for host, port in parley.edges("sip-udp") if host in nodes)
    sources = [site.addresses[number % len(site.addresses)] for number in range(_SOURCES)]
    before = await _cpu(parley)
    with tempfile.TemporaryDirectory() as work:
        users = write_users(Path(work) / "users.csv", site.users, PASSWORD)
        loads = await asyncio.gather(
            *(
                run_sipp(
                    "register.xml", next(edges), users=users, rate=rate / _SOURCES,
                    calls=int(rate * seconds / _SOURCES), port=free_port(), contact_port=_CONTACT,
                    source=source or "0.0.0.0", timeout=60,
                )
                for source in sources
            )
        )  # fmt: skip
    after = await _cpu(parley)
    return Step(list(loads), {name: after[name] - before[name] for name in after})


async def _cpu(parley: Installation) -> dict[str, float]:
    """CPU seconds used so far."""
    used = {}
    for name in ("frontend", "registrar", "addressbook"):
        pods = await aside(parley.pods, name)
        used[name] = sum([await aside(parley.metric, pod, "process_cpu_seconds_total") for pod in pods])
    script = 'REDISCLI_AUTH="$(cat /etc/valkey-secret/password)" valkey-cli info cpu'
    told = await aside(parley.exec, "parley-valkey-0", "sh", "-c", script)
    rows = dict(line.split(":") for line in told.split() if ":" in line)
    used["valkey"] = float(rows["used_cpu_user"]) + float(rows["used_cpu_sys"])
    return used
