"""A control group for each node, in version 1 (a tree for each controller) and in version 2 (one tree)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import Final

from tools.cluster.settings import NAME, ClusterError

_ROOT: Final = Path("/sys/fs/cgroup")
_NEEDED: Final = frozenset({"cpu", "cpuset", "memory", "pids"})
"""What the kubelet wants to limit."""


def trees(root: Path = _ROOT) -> list[Path]:
    """The roots of the hierarchies. Raises ClusterError when a controller is missing."""
    if (root / "cgroup.controllers").exists():
        found, controllers = [root], set((root / "cgroup.controllers").read_text().split())
    else:  # beside the trees of version 1 there may be one of version 2, which has no controllers then
        folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()] if root.exists() else []
        found = [path for path in folders if (path / "cgroup.procs").exists() and not (path / "cgroup.controllers").exists()]
        controllers = {name for path in found for name in path.name.split(",")}
    missing = sorted(_NEEDED - controllers)
    if missing:
        raise ClusterError(f"the kernel offers no control groups for {', '.join(missing)}; boot with them, or in a VM")
    return found


def make(name: str, root: Path = _ROOT) -> None:
    """Makes a group in every tree. Raises ClusterError."""
    for tree in trees(root):
        if (tree / "cgroup.controllers").exists():
            _pass_on(tree)
        group = tree / name
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group of version 1, which no process may join then
            if (group / file).exists() and not (tree / "cgroup.controllers").exists():
                (group / file).write_text((tree / file).read_text())


def remove(name: str, root: Path = _ROOT, timeout: float = 10) -> None:
    """Ends what still runs in a group, and removes it with all below. Raises ClusterError when something stays."""
    deadline = time.monotonic() + timeout
    while left := [group for group in _groups(name, root) if not _removed(group)]:
        if time.monotonic() > deadline:
            raise ClusterError(f"{left[0]} cannot be removed; a process of the cluster hangs in the kernel, so reboot")
        time.sleep(0.1)


def ours(root: Path = _ROOT) -> set[str]:
    """The names of groups that nodes have, or had."""
    places = [root, *(path for path in root.iterdir() if path.is_dir())] if root.exists() else []
    found = (path.name for place in places for path in place.glob(f"{NAME}-n*"))
    return {name for name in found if re.fullmatch(rf"{NAME}-n\d", name)}


def _pass_on(tree: Path) -> None:
    """Lets groups below a root of version 2 use the controllers."""
    offered = set((tree / "cgroup.controllers").read_text().split())
    there = set((tree / "cgroup.subtree_control").read_text().split())
    wanted = sorted(((_NEEDED | {"io", "hugetlb"}) & offered) - there)
    try:
        if wanted:
            (tree / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))
    except OSError as error:
        raise ClusterError(
            f"control groups cannot be passed on here ({error.strerror}), as in a container; use a machine or a VM"
        ) from error


def _groups(name: str, root: Path) -> list[Path]:
    """A group and those below, deepest first, in every tree."""
    tops = [path for path in (root / name, *root.glob(f"*/{name}")) if path.is_dir() and not path.parent.is_symlink()]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top, topdown=False)]


def _removed(group: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
