"""CPU time and memory of process trees, read from /proc.

``schedstat`` counts nanoseconds a thread ran; ``stat`` only ticks of 10 ms, so the former is preferred.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def process_tree(roots: Iterable[int]) -> set[int]:
    """The processes given and all their descendants that live now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    tree = {pid for pid in roots if pid in parents}
    while True:
        more = {pid for pid, parent in parents.items() if parent in tree} - tree
        if not more:
            return tree
        tree |= more


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU seconds (user and system) that the processes used so far; ended threads are counted by ticks."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            exact = sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
        except (OSError, ValueError, IndexError):
            continue
        total += max(exact / 1e9, ticks - 0.01) if exact else ticks
    return total


def resident_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of the processes, in bytes: shared pages are shared out."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total
