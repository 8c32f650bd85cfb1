"""The cluster of our own nodes: bringing it up, taking it down, its nodes one by one.

Whatever state a machine was left in (processes killed, namespaces without processes, half a start), ``up`` and ``down``
first take away what is left, by what the kernel shows. One cluster is on a machine at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import shutil
import string
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tools.cluster import cgroups, control_plane, images, machine, namespaces, network, volumes
from tools.cluster.node import Node
from tools.cluster.pki import Authority
from tools.cluster.settings import DNS_SERVICE, HERE, MOST_NODES, NAME, ROOT, ClusterError, Settings
from tools.cluster.shell import run, say, start, wait_for

_LOCK: Final = Path(f"/run/{NAME}.lock")
"""Held while something changes; tells where the state of the cluster is that runs on this machine."""

_AGENT: Final = "tools.cluster.agent"
_CONTROL_PROGRAMS: Final = frozenset(
    {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "metrics-server", _AGENT}
)
_NODE_PROGRAMS: Final = frozenset({"pause", "containerd", "kubelet", "kube-proxy"})


def running(settings: Settings) -> bool:
    """Whether a control plane that was started to the end answers, with all its programs."""
    return _note(settings).get("complete") is True and not missing(NAME) and control_plane.answers(settings)


def running_nodes() -> list[int]:
    """The numbers of the nodes that are on, with all their programs."""
    return sorted(int(name.removeprefix(f"{NAME}-n")) for name in namespaces.ours() if name != NAME and not missing(name))


def missing(place: str) -> list[str]:
    """The programs that ought to run in a namespace of the cluster, and do not."""
    there = {process.command for process in namespaces.processes(place)}
    return sorted((_CONTROL_PROGRAMS if place == NAME else _NODE_PROGRAMS) - there)


def up(settings: Settings) -> None:
    """Returns once all nodes are Ready; of a cluster that runs, starts the nodes that are off. Raises ClusterError."""
    machine.check_root()
    with _exclusive(settings):
        if running(settings):
            for number in set(range(1, settings.nodes + 1)) - set(running_nodes()):
                _start_node(settings, number)
            say("the cluster is up")
            return
        _clean(settings)
        _start(settings)


def down(settings: Settings) -> None:
    """Removes everything. Nothing happens when nothing is there. Raises ClusterError."""
    machine.check_root()
    with _exclusive(settings):
        _clean(settings)


def load(settings: Settings, paths: list[Path], prune: bool) -> None:
    """Imports archives into every node that is on; with ``prune`` removes images loaded before that nobody uses."""
    machine.check_root()
    archives = [images.Archive.open(path) for path in paths]
    nodes = running_nodes()
    if not nodes:
        raise ClusterError("no node is running; run tools/cluster/cluster.sh up")
    done = images.load(settings, nodes, archives)
    say(f"{len(archives)} archives are on {len(nodes)} nodes, {done} imports")
    if prune:
        keep = [*images.of_programs(settings), *archives]
        say(f"removed {', '.join(images.prune(settings, nodes, keep)) or 'no image'}")


def kill_node(settings: Settings, number: int) -> None:
    """Lets a node's power fail. Raises ClusterError when it is off already."""
    machine.check_root()
    with _exclusive(settings):
        if number not in running_nodes():
            raise ClusterError(f"node n{number} is not running")
        Node(settings, number).switch_off()


def start_node(settings: Settings, number: int) -> None:
    """Switches a node on again, or adds one; returns once it is Ready. Raises ClusterError."""
    machine.check_root()
    with _exclusive(settings):
        if not running(settings):
            raise ClusterError("the cluster is not running; run tools/cluster/cluster.sh up")
        if number not in running_nodes():
            _start_node(settings, number)


def kubectl(settings: Settings, *arguments: str, stdin: str | None = None, timeout: float = 180) -> str:
    """Runs kubectl as administrator. Raises ClusterError."""
    program = settings.programs / "kubectl"
    return run(program, f"--kubeconfig={settings.kubeconfig}", *arguments, stdin=stdin, timeout=timeout)


def manifest(name: str, **values: str | int) -> str:
    """A file of ``manifests/``, with its ``$names`` replaced."""
    return string.Template((HERE / "manifests" / f"{name}.yaml").read_text()).substitute(values)


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """Mount points in a folder, deepest first, of /proc/self/mountinfo."""
    points = [line.split()[4] for line in mountinfo.splitlines()]
    return sorted((point for point in points if point.startswith(f"{folder}/")), key=len, reverse=True)


def _start(settings: Settings) -> None:
    began = datetime.datetime.now(datetime.UTC)
    archives = images.of_programs(settings)
    _make_state(settings)
    authority = control_plane.make_keys(settings)
    if owner := os.environ.get("SUDO_UID"):  # whoever called sudo is to use the cluster without
        os.chown(settings.kubeconfig, int(owner), -1)
    network.make_switch(settings)
    nodes = [Node(settings, number) for number in range(1, settings.nodes + 1)]
    with ThreadPoolExecutor(len(nodes)) as pool:
        switched_on = [pool.submit(node.switch_on, archives) for node in nodes]
        control_plane.start(settings)
        agent = ("env", f"--chdir={ROOT}", sys.executable, "-m", _AGENT)
        start(namespaces.inside(NAME, *agent), settings.log("agent"))
        control_plane.start_metrics(settings)
        for outcome in switched_on:
            outcome.result()
        say("the nodes have containerd")
        for _ in pool.map(lambda node: node.join(authority), nodes):
            pass
    _apply(settings, authority)
    wait_for("that every node is Ready", lambda: _ready(settings, nodes, began))
    say("the nodes are Ready")
    kubectl(settings, "--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
    _write_note(settings, complete=True)
    say("names are resolved")


def _apply(settings: Settings, authority: Authority) -> None:
    """What is in a new cluster: DNS, the metrics API and the storage class."""
    address, port = settings.control, control_plane.METRICS_PORT
    documents = [
        manifest("coredns", image=images.COREDNS, address=DNS_SERVICE, replicas=min(2, settings.nodes)),
        manifest("metrics", address=address, port=port, authority=authority.bundle()),
        manifest("storage", provisioner=volumes.PROVISIONER),
    ]
    kubectl(settings, "apply", "--filename=-", stdin="\n---\n".join(documents))


def _start_node(settings: Settings, number: int) -> None:
    node = Node(settings, number)
    node.switch_off()  # what is left of it
    node.switch_on(images.of_programs(settings))
    began = datetime.datetime.now(datetime.UTC)
    node.join(Authority(settings.pki, settings.server))
    wait_for(f"that {node.name} is Ready", lambda: _ready(settings, [node], began))
    say(f"{node.name} is Ready")


def is_ready(node: Mapping[str, Any], since: datetime.datetime) -> bool:
    """Whether a node's kubelet said so since then; what it said before it was switched off does not count."""
    for condition in node["status"].get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            return datetime.datetime.fromisoformat(condition["lastHeartbeatTime"]) >= since.replace(microsecond=0)
    return False


def _ready(settings: Settings, nodes: list[Node], since: datetime.datetime) -> bool:
    return all(is_ready(json.loads(kubectl(settings, "get", "node", node.name, "--output=json")), since) for node in nodes)


def _make_state(settings: Settings) -> None:
    """Makes the folder of the state and those that nodes mount over, and notes the latter."""
    made = [str(point) for point in machine.MOUNT_POINTS if not point.exists()]
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o755)
    _write_note(settings, **{"with": "own", "version": settings.version, "made": made})
    for point in machine.MOUNT_POINTS:
        point.mkdir(parents=True, exist_ok=True)


def _note(settings: Settings) -> dict[str, Any]:
    """What is noted of the cluster; nothing when there is none."""
    try:
        note: dict[str, Any] = json.loads((settings.state / machine.NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return note


def _write_note(settings: Settings, **values: object) -> None:
    unfinished = settings.state / f"{machine.NOTE}.new"
    unfinished.write_text(json.dumps({**_note(settings), **values}))
    unfinished.replace(settings.state / machine.NOTE)


def _clean(settings: Settings) -> None:
    """Takes away whatever is there of a cluster."""
    machine.check_state(settings.state)
    for number in range(1, MOST_NODES + 1):
        network.unplug_node(number)
    for name in namespaces.ours():
        namespaces.remove(name)
    network.remove_interface()
    for group in cgroups.ours():
        cgroups.remove(group)
    for point in mounts_below(settings.state, Path("/proc/self/mountinfo").read_text()):
        run("umount", "--lazy", point)
    for made in _note(settings).get("made", ()):
        with contextlib.suppress(OSError):  # somebody else's by now
            Path(made).rmdir()
    if settings.state.exists():
        shutil.rmtree(settings.state)


@contextlib.contextmanager
def _exclusive(settings: Settings) -> Iterator[None]:
    """Waits for whoever changes the cluster. Raises ClusterError when another one is on this machine."""
    with _LOCK.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command that changes the cluster")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        other = lock.read().strip()
        if other and other != str(settings.state) and Path(other, machine.NOTE).exists() and namespaces.ours():
            raise ClusterError(
                f"another cluster is on this machine, with its state in {other}; "
                f"use it with PARLEY_CLUSTER={other}, or remove it with PARLEY_CLUSTER={other} tools/cluster/cluster.sh down"
            )
        lock.truncate(0)
        lock.write(str(settings.state))
        lock.flush()
        yield
