"""The command: ``tools/cluster/cluster.sh`` calls it for everything but building and installing."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from tools.cluster import elsewhere, machine, namespaces, own
from tools.cluster.settings import HERE, ClusterError, Settings, node_number
from tools.cluster.shell import run

_ENTERING = ("nsenter", "unshare")
"""They wait for what they started."""


def main(arguments: list[str]) -> int:
    """Does what is asked; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environment()
        os.environ["NO_PROXY"] = settings.no_proxy(os.environ)
        if options.command == "up":
            _up(settings)
        elif options.command == "down":
            _down(settings)
        elif options.command == "load":
            _load(settings, options.archives, options.prune)
        elif options.command == "env":
            print(_environment(settings))
        elif options.command == "status":
            return _status(settings)
        elif options.command == "kill-node":
            own.kill_node(settings, node_number(options.node))
        elif options.command == "start-node":
            own.start_node(settings, node_number(options.node))
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster.sh",
        description="A Kubernetes cluster for developing and testing the chart: one that KUBECONFIG names and that answers, "
        "else of kind or k3d when Docker runs, else nodes of our own on this machine (root). See docs/local-cluster.md.",
        epilog="Environment: NODES (2), KUBECONFIG, PARLEY_CLUSTER_WITH (existing, kind, k3d, own), PARLEY_CLUSTER "
        "(folder of the state), PARLEY_CLUSTER_NETWORK (10.98.0), PARLEY_CACHE.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="bring a cluster up, or start the nodes of it that are off")
    commands.add_parser("down", help="remove the cluster and all that it left")
    load = commands.add_parser("load", help="bring image archives to every node, those that are not there yet")
    load.add_argument("archives", nargs="+", type=Path, metavar="TAR")
    load.add_argument("--prune", action="store_true", help="remove images loaded before that no container uses")
    commands.add_parser("env", help="print what to eval for kubectl and helm: eval $(tools/cluster/cluster.sh env)")
    commands.add_parser("status", help="tell what runs, and how much memory it has; exit code 1 when something is missing")
    for name, text in (("kill-node", "let a node's power fail"), ("start-node", "switch a node on again, or add one")):
        commands.add_parser(name, help=text).add_argument("node", metavar="NUMBER")
    commands.add_parser("build", help="build Kubernetes into the cache (15 minutes, once); up does so")
    commands.add_parser("install-tools", help="install the Debian packages of nodes of our own; up does so")
    return parser


def _up(settings: Settings) -> None:
    kind = elsewhere.chosen(settings, os.environ)
    noted = elsewhere.noted(settings)
    if kind in ("kind", "k3d") and noted == kind:
        print(f"the cluster of {kind} is there")
    elif kind == "own":
        machine.check_root()
        _script("install-tools.sh")
        if not own.running(settings):
            machine.check(settings)  # before a build that takes long
        _script("build.sh")
        own.up(settings)
    else:
        if noted in ("own", "kind", "k3d"):
            raise ClusterError(f"there is a cluster already ({noted}); remove it first with tools/cluster/cluster.sh down")
        elsewhere.up(settings, kind, os.environ.get("KUBECONFIG", ""))
    print(_environment(settings))


def _script(name: str) -> None:
    """Runs a script of this folder, whose progress is seen. Raises ClusterError."""
    if subprocess.run([str(HERE / name)], stdout=subprocess.DEVNULL, check=False).returncode != 0:
        raise ClusterError(f"tools/cluster/{name} failed, as said above")


def _down(settings: Settings) -> None:
    noted = elsewhere.noted(settings)
    if noted in (None, "own"):
        own.down(settings)
    else:
        elsewhere.down(settings, noted)


def _kubeconfig(settings: Settings) -> str:
    """Of the cluster in use. Raises ClusterError."""
    if elsewhere.noted(settings) not in (None, "existing"):
        return str(settings.kubeconfig)
    given = os.environ.get("KUBECONFIG", "")
    if not given:
        raise ClusterError("there is no cluster; run tools/cluster/cluster.sh up, or set KUBECONFIG")
    return given


def _load(settings: Settings, archives: list[Path], prune: bool) -> None:
    if elsewhere.noted(settings) == "own":
        own.load(settings, archives, prune)
    else:
        elsewhere.load(settings, archives, _kubeconfig(settings))


def _environment(settings: Settings) -> str:
    lines = [f"export KUBECONFIG={shlex.quote(_kubeconfig(settings))}"]
    if settings.programs.exists():
        lines.append(f"export PATH={shlex.quote(str(settings.programs))}:$PATH")
    if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in os.environ):
        lines.append(f"export NO_PROXY={shlex.quote(os.environ['NO_PROXY'])}")
    return "\n".join(lines)


def _status(settings: Settings) -> int:
    """Prints what runs."""
    noted, missing = elsewhere.noted(settings), []
    if noted == "own":
        total = 0
        for place in reversed(namespaces.ours()):
            missing += [f"{place}: {name}" for name in own.missing(place)]
            processes = [process for process in namespaces.processes(place) if process.command not in _ENTERING]
            for process in sorted(processes, key=lambda process: process.command):
                memory = namespaces.memory(process)
                total += memory
                print(f"{place:20} {process.command:28} {memory >> 20:6} MiB  pid {process.pid}")
        print(f"{total >> 20} MiB in all, without pods; state in {settings.state}")
    kubeconfig = _kubeconfig(settings)
    print(f"KUBECONFIG {kubeconfig}")
    kubectl = (elsewhere.kubectl_program(settings), f"--kubeconfig={kubeconfig}", "--request-timeout=10s", "get")
    print(run(*kubectl, "nodes", "--output=wide"), end="")
    print(run(*kubectl, "pods", "--all-namespaces"), end="")
    for name in missing:
        print(f"not running: {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
