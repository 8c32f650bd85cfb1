"""All measurements on the cluster, one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from bench.cluster import memory, recovery, throughput, upgrade
from bench.cluster.site import Site
from bench.tables import Result

PARTS: Final[dict[str, Callable[[Site], Awaitable[Result]]]] = {
    "upgrade": upgrade.measure,
    "recovery": recovery.measure,
    "throughput": throughput.measure,
    "memory": memory.measure,
}
"""What can be measured, in the order in which it is."""


async def on_cluster(parts: Iterable[str], show: Callable[[Result], None], figures: Path) -> None:
    """Measures, shows each table as it is there, and writes the figures as JSON. Raises AssertionError without a cluster."""
    with Site.found() as site:
        try:
            for name in PARTS:
                if name in parts:
                    show(await PARTS[name](site))
        finally:
            await asyncio.to_thread(_write, figures, site.figures)


def _write(path: Path, figures: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")
