"""Whether a cluster of our own may run on this machine; asked before anything is made."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Final

from tools.cluster import cgroups, network
from tools.cluster.settings import ClusterError, Settings
from tools.cluster.shell import run, succeeds

_GIB: Final = 1 << 30
_BASE_MEMORY: Final = _GIB
_NODE_MEMORY: Final = _GIB // 2
_DISK: Final = 6 * _GIB
_HIDDEN: Final = ("/run", "/var/run", "/var/log", "/var/lib/kubelet", "/var/lib/cni", "/proc", "/sys")
"""Where nodes mount something of their own, so that the state cannot be there."""
NOTE: Final = "cluster.json"
"""The file in the state that tells what made it; a folder without it is not ours."""
MOUNT_POINTS: Final = (Path("/var/lib/kubelet"), Path("/var/lib/cni"))
"""Folders that must be there for nodes to mount their own over."""


def check_root() -> None:
    """Raises ClusterError for anybody but root on Linux."""
    if platform.system() != "Linux":
        raise ClusterError("nodes of our own need Linux; start Docker and install kind or k3d, or set KUBECONFIG")
    if os.geteuid() != 0:
        raise ClusterError("nodes of our own need root: use sudo -E, or Docker with kind or k3d, or set KUBECONFIG")


def check(settings: Settings) -> None:
    """Raises ClusterError with what is wrong with this machine."""
    check_place(settings.state)
    check_state(settings.state)
    check_space(available_memory(Path("/proc/meminfo").read_text()), _free_disk(settings.state), settings)
    cgroups.trees()
    if not Path("/proc/sys/net/bridge").exists() and not succeeds("modprobe", "br_netfilter"):
        raise ClusterError("the kernel has no br_netfilter, which Services need; load that module")
    network.check_addresses(settings)


def check_place(state: Path) -> None:
    """Raises ClusterError when the state cannot be in that folder."""
    if any(state == Path(folder) or Path(folder) in state.parents for folder in _HIDDEN) or len(state.parts) < 3:
        raise ClusterError(
            f"PARLEY_CLUSTER is {state}, which the nodes cannot see; choose a folder like /var/lib/parley-cluster"
        )
    if run("stat", "-f", "-c", "%T", _there(state)).strip() == "overlayfs":
        raise ClusterError(
            f"{state} is on overlayfs, where no images can be unpacked; set PARLEY_CLUSTER to a folder on a disk"
        )


def check_state(state: Path) -> None:
    """Raises ClusterError when that folder holds something else, and must not be removed."""
    if state.exists() and not (state / NOTE).exists() and any(state.iterdir()):
        raise ClusterError(f"{state} holds files of something else; set PARLEY_CLUSTER to another folder")


def check_space(memory: int, disk: int, settings: Settings) -> None:
    """Raises ClusterError when so many free bytes are too few for the cluster and something in it."""
    wanted = _BASE_MEMORY + settings.nodes * _NODE_MEMORY
    if memory < wanted:
        raise ClusterError(
            f"{memory / _GIB:.1f} GiB of memory are free, and {settings.nodes} nodes need {wanted / _GIB:.1f}; "
            "end something, or set NODES to less"
        )
    if disk < _DISK:
        raise ClusterError(
            f"{disk / _GIB:.1f} GiB of disk are free for {settings.state}, and {_DISK // _GIB} are needed; "
            "make room, or set PARLEY_CLUSTER to a folder on another disk"
        )


def available_memory(meminfo: str) -> int:
    """Bytes that programs may still have, of /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def cni_folder() -> Path:
    """Where the programs are that plug pods in. Raises ClusterError."""
    for folder in (Path("/usr/lib/cni"), Path("/opt/cni/bin")):
        if (folder / "bridge").exists() and (folder / "portmap").exists():
            return folder
    raise ClusterError("the CNI plugins are not installed; run tools/cluster/cluster.sh install-tools")


def _there(path: Path) -> Path:
    """The path, or the nearest folder above that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _free_disk(path: Path) -> int:
    return shutil.disk_usage(_there(path)).free
