"""``python -m bench``: loads Parley and its peers one after the other, and prints what each one cost."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from rich.console import Console

from bench.calls import set_up
from bench.connections import idle_connections
from bench.peers.kamailio import Kamailio, KamailioPair
from bench.peers.parley import PASSWORD, Parley, ParleyPair
from bench.register import rising, steady
from bench.tables import Result, write_report

NAMES = [f"user{index}" for index in range(1000)]
CHOICES = ("register", "rising", "calls", "connections")


async def run(what: list[str], seconds: float, connections: int, console: Console) -> list[Result]:
    """The benchmarks that were asked for, in their order."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        work = Path(folder)

        def show(result: Result) -> None:
            result.show(console)
            results.append(result)

        if "register" in what:
            show(await steady(_peers(work / "steady"), NAMES, PASSWORD, work, seconds=seconds))
        if "rising" in what:
            show(await rising(_peers(work / "rising"), NAMES, PASSWORD, work, seconds=max(3.0, seconds / 2)))
        if "calls" in what:
            pairs = (ParleyPair(work / "pp", NAMES[:100]), KamailioPair(work / "kp"))
            show(await set_up(pairs, NAMES[:100], PASSWORD, work, rate=50, seconds=seconds))
        if "connections" in what:
            show(await idle_connections(work / "idle", connections))
    return results


def _peers(work: Path) -> list[Parley | Kamailio]:
    return [
        Parley(work / "parley", users=NAMES),
        Kamailio(work / "memory"),
        Kamailio(work / "redis", with_redis=True),
    ]


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", default=list(CHOICES), help=f"any of {', '.join(CHOICES)}; all by default")
    parser.add_argument("--seconds", type=float, default=10, help="length of each measurement")
    parser.add_argument("--connections", type=int, default=10_000, help="idle TLS phones")
    parser.add_argument("--report", type=Path, help="also write the tables to this file, as Markdown")
    options = parser.parse_args()
    for name in options.what:
        if name not in CHOICES:
            parser.error(f"{name} is none of {', '.join(CHOICES)}")
    console = Console()
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    results = asyncio.run(run(options.what, options.seconds, options.connections, console))
    if options.report:
        write_report(options.report, results)


if __name__ == "__main__":
    main()
