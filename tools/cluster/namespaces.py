"""The network namespaces of a cluster, and the processes in them: the one truth of what runs.

``parley-cluster`` holds the control plane and the switch, ``parley-cluster-n1`` a node. A node has further namespaces
(mounts, processes, host name), which live as long as its first process.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.cluster.settings import NAME, ClusterError
from tools.cluster.shell import run, succeeds

_FOLDER: Final = Path("/run/netns")
_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process as the kernel tells it."""

    pid: int
    command: str
    """The program's file name, from its arguments; of a module of Python the module's name."""
    pids: tuple[int, ...]
    """Its ids: here, in the namespace below that it is in, and so on."""


def path_of(name: str) -> Path:
    """The file that stands for a namespace."""
    return _FOLDER / name


def of_node(number: int) -> str:
    """The name of a node's namespace."""
    return f"{NAME}-n{number}"


def ours() -> list[str]:
    """The namespaces of a cluster that are there, nodes first."""
    names = (path.name for path in _FOLDER.glob(f"{NAME}*")) if _FOLDER.exists() else ()
    return sorted((name for name in names if re.fullmatch(rf"{NAME}(-n\d)?", name)), reverse=True)


def inside(name: str, *command: str | Path) -> list[str | Path]:
    """The command that runs another one in a namespace."""
    return ["nsenter", f"--net={path_of(name)}", *command]


def processes(name: str) -> list[Process]:
    """What runs in a namespace; nothing when it is not there."""
    try:
        inode = path_of(name).stat().st_ino
    except FileNotFoundError:
        return []
    found = []
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if (folder / "ns" / "net").stat().st_ino == inode:
                found.append(_process(folder))
    return found


def command_of(cmdline: bytes) -> str:
    """A program's name, of /proc/PID/cmdline; "" for a process that has no arguments any more."""
    arguments = cmdline.decode(errors="replace").split("\0")
    if arguments[1:2] == ["-m"]:
        return arguments[2]
    return Path(arguments[0]).name


def memory(process: Process) -> int:
    """Bytes of memory that a process holds, its part of what it shares with others counted; 0 when it ended."""
    try:
        return int(_fields(_PROC / str(process.pid) / "smaps_rollup")["Pss"][0]) * 1024
    except (OSError, KeyError):
        return 0


def first_process(number: int) -> int | None:
    """The id of a node's first process; None when the node is off."""
    for process in processes(of_node(number)):
        if process.command == "pause" and len(process.pids) == 2 and process.pids[-1] == 1:
            return process.pid
    return None


def in_node(number: int, *command: str | Path) -> list[str | Path]:
    """The command that runs another one on a node. Raises ClusterError when the node is off."""
    pid = first_process(number)
    if pid is None:
        raise ClusterError(f"node n{number} is not running; start it with tools/cluster/cluster.sh start-node {number}")
    return ["nsenter", f"--target={pid}", "--mount", "--pid", "--uts", "--net", *command]


def remove(name: str, timeout: float = 20) -> None:
    """Ends everything in a namespace and removes it. Raises ClusterError when a process stays."""
    deadline = time.monotonic() + timeout
    while left := processes(name):
        if time.monotonic() > deadline:
            raise ClusterError(f"process {left[0].pid} ({left[0].command}) does not end; look why, and try again")
        kill([process.pid for process in left])
        time.sleep(0.05)
    if path_of(name).exists() and not succeeds("ip", "netns", "delete", name):
        path_of(name).unlink(missing_ok=True)  # no namespace any more, just its file


def kill(pids: Sequence[int]) -> None:
    """Ends processes without asking them."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def set_kernel(name: str, **values: int) -> None:
    """Sets ``net/...`` of the kernel in a namespace; two underscores stand for a slash."""
    lines = [f"echo {value} > /proc/sys/net/{key.replace('__', '/')}" for key, value in values.items()]
    run(*inside(name, "sh", "-ec", "\n".join(lines)))


def _process(folder: Path) -> Process:
    fields = _fields(folder / "status")
    command = command_of((folder / "cmdline").read_bytes()) or fields["Name"][0]
    return Process(int(folder.name), command, tuple(map(int, fields["NSpid"])))


def _fields(file: Path) -> dict[str, list[str]]:
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return {key: value.split() for key, _, value in lines}
