"""Memory of the small profile with nobody signed in: what the kubelet counts for each pod."""

from __future__ import annotations

import asyncio

from bench.cluster.site import Site
from bench.tables import Result
from tests.support.cluster_install import RESTRICTED, SMALL, Installation, aside

_IDLE_S = 45.0
"""The kubelet counts every 10 to 15 seconds."""


async def measure(site: Site) -> Result:
    """Installs it beside, waits, reads, and takes it away."""
    result = Result("Memory of the small profile, idle (working set)", ["pod", "MiB"])
    with site.parley.cluster.namespace("parley-small", **RESTRICTED) as namespace:
        small = Installation(namespace, image_tag=site.parley.tag())
        await aside(small.install, *SMALL)
        await asyncio.sleep(_IDLE_S)
        used = await aside(small.memory)
        await aside(small.helm, "uninstall", small.release, "--wait", "--timeout=90s")
    for name, size in sorted(used.items()):
        result.rows.append([name, f"{size / 2**20:.0f}"])
    total = sum(used.values())
    result.rows.append(["all", f"{total / 2**20:.0f}"])
    site.figures["memory"] = {"small_profile_bytes": total, **{f"{name}_bytes": size for name, size in used.items()}}
    return result
