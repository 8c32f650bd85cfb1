"""Cores for servers and for their load."""

from __future__ import annotations

import os


def pinned(core: int) -> list[str]:
    """What makes a command run on one core: the first with 0, the last with -1. Nothing where there is one only."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 else []
