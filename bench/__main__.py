"""``python -m bench``: loads Parley and its peers one after the other, and prints what each one cost."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console

from bench.addressbook import directory
from bench.calls import set_up
from bench.cluster.run import PARTS, on_cluster
from bench.connections import idle_connections
from bench.peers.kamailio import Kamailio, KamailioPair
from bench.peers.parley import PASSWORD, Parley, ParleyPair
from bench.peers.relays import Coturn, ParleyRelay
from bench.presence import fan_out
from bench.register import rising, steady
from bench.relay import load_generator, relayed
from bench.sign_in import storm
from bench.tables import Result, write_report

NAMES = [f"user{index}" for index in range(1000)]
CHOICES = ("register", "rising", "calls", "connections", "presence", "sign-in", "relay", "addressbook")
"""What needs nothing but this machine; `cluster` needs one, and an installation in it."""


async def run(options: argparse.Namespace, console: Console) -> list[Result]:
    """The benchmarks that were asked for, in their order."""
    results: list[Result] = []
    what, seconds = options.what, options.seconds
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
            show(await idle_connections(work / "idle", options.connections))
        if "presence" in what:
            show(await fan_out(work / "presence", options.watchers))
        if "sign-in" in what:
            show(await storm(work / "sign-in", options.users, options.storm_seconds))
        if "relay" in what:
            ours = [ParleyRelay(plane, work / plane) for plane in ("native", "python")]
            relays = [*ours, Coturn(work / "coturn")]
            for result in await relayed(relays, load_generator(), seconds=min(2.0, seconds)):
                show(result)
        if "addressbook" in what:
            for result in await directory(work / "addressbook", options.entries, seconds):
                show(result)
        if "cluster" in what:
            await on_cluster(options.parts or PARTS, show, options.figures)
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
    parser.add_argument(
        "what", nargs="*", default=list(CHOICES), help=f"any of {', '.join(CHOICES)}, which is the default; or cluster"
    )
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), help="of cluster, when not all")
    parser.add_argument("--figures", type=Path, default=Path("build/cluster.json"), help="where cluster writes its figures")
    parser.add_argument("--entries", type=int, default=100_000, help="people of the directory")
    parser.add_argument("--seconds", type=float, default=10, help="length of each measurement")
    parser.add_argument("--connections", type=int, default=10_000, help="idle TLS phones")
    parser.add_argument("--watchers", type=int, default=1_000, help="who watch one user")
    parser.add_argument("--users", type=int, default=1_000, help="who sign in with Communicator")
    parser.add_argument("--storm-seconds", type=float, default=60, help="within which they sign in")
    parser.add_argument("--report", type=Path, help="also write the tables to this file, as Markdown")
    options = parser.parse_args()
    for name in options.what:
        if name not in (*CHOICES, "cluster"):
            parser.error(f"{name} is none of {', '.join(CHOICES)}, cluster")
    console = Console()
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    results = uvloop.run(run(options, console))
    if options.report:
        write_report(options.report, results)


if __name__ == "__main__":
    main()
