"""Clusters that are not of our own nodes: one that is there already, and those of kind and k3d where Docker runs.

Which one it is is asked for with PARLEY_CLUSTER_WITH=existing|kind|k3d|own, and else follows from what is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml

from tools.cluster import own
from tools.cluster.images import Archive
from tools.cluster.machine import NOTE
from tools.cluster.settings import ClusterError, Settings
from tools.cluster.shell import run, say, succeeds

Kind = Literal["existing", "kind", "k3d", "own"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
CLUSTER: Final = "parley"
"""The name of the cluster in kind and k3d."""


def kubectl_program(settings: Settings) -> str:
    """Where kubectl is: what was built, else what is installed. Raises ClusterError."""
    built = settings.programs / "kubectl"
    found = str(built) if built.exists() else shutil.which("kubectl")
    if found is None:
        raise ClusterError("kubectl is not there; install it, or run tools/cluster/cluster.sh build")
    return found


def choose(asked: str, exists: bool, own_runs: bool, tools: Mapping[str, bool]) -> Kind:
    """Which kind of cluster to use. ``tools`` tells which of docker, kind and k3d may be used. Raises ClusterError."""
    for kind in KINDS:
        if asked == kind:
            return kind
    if asked:
        raise ClusterError(f"PARLEY_CLUSTER_WITH is {asked!r}; set it to one of {', '.join(KINDS)}")
    if exists:
        return "existing"
    if not own_runs and tools["docker"]:
        if tools["kind"]:
            return "kind"
        if tools["k3d"]:
            return "k3d"
    return "own"


def chosen(settings: Settings, environment: Mapping[str, str]) -> Kind:
    """Which kind to use here. Raises ClusterError."""
    kubeconfig = environment.get("KUBECONFIG", "")
    foreign = bool(kubeconfig) and Path(kubeconfig) != settings.kubeconfig
    exists = foreign and succeeds(kubectl_program(settings), "--request-timeout=10s", "get", "--raw", "/readyz")
    if foreign and not exists:
        say(f"nothing answers that {kubeconfig} (KUBECONFIG) names, so it is not used")
    tools = {name: shutil.which(name) is not None for name in ("docker", "kind", "k3d")}
    tools["docker"] = tools["docker"] and (tools["kind"] or tools["k3d"]) and succeeds("docker", "info")
    asked = environment.get("PARLEY_CLUSTER_WITH", "")
    if asked == "existing" and not exists:
        raise ClusterError("PARLEY_CLUSTER_WITH=existing needs KUBECONFIG to name a cluster that answers")
    return choose(asked, exists, own.running(settings), tools)


def noted(settings: Settings) -> Kind | None:
    """Which kind ``up`` made or used; None when there was none."""
    try:
        note: Kind = json.loads((settings.state / NOTE).read_text())["with"]
    except (OSError, ValueError, KeyError):
        return None
    return note


def up(settings: Settings, kind: Kind, kubeconfig: str) -> None:
    """Makes a cluster of kind or k3d, or takes the one that is there. Raises ClusterError."""
    if kind == "existing":
        node = _nodes(settings, kubeconfig)[0]
        version = node["status"]["nodeInfo"]["kubeletVersion"]
        say(f"using the cluster of {kubeconfig} (Kubernetes {version}); it has to have a CNI that enforces NetworkPolicy,")
        say("a default storage class and metrics-server for all tests to pass")
    elif kind == "kind":
        run("kind", "create", "cluster", f"--name={CLUSTER}", f"--kubeconfig={_made(settings)}", "--config=-", "--wait=180s",
            stdin=kind_configuration(settings.nodes), timeout=900)  # fmt: skip
        say("kind has no metrics-server: tests of autoscaling fail until you install it")
    else:
        run("k3d", "cluster", "create", CLUSTER, f"--agents={settings.nodes - 1}", "--k3s-arg=--disable=traefik@server:*",
            "--kubeconfig-update-default=false", "--wait", timeout=900)  # fmt: skip
        _made(settings).write_text(run("k3d", "kubeconfig", "get", CLUSTER))
    settings.state.mkdir(parents=True, exist_ok=True)
    (settings.state / NOTE).write_text(json.dumps({"with": kind}))


def down(settings: Settings, kind: Kind) -> None:
    """Removes a cluster of kind or k3d; one that was there before stays. Raises ClusterError."""
    if kind == "existing":
        say("the cluster was there before, and stays")
    elif kind == "kind":
        run("kind", "delete", "cluster", f"--name={CLUSTER}", timeout=300)
    else:
        run("k3d", "cluster", "delete", CLUSTER, timeout=300)
    shutil.rmtree(settings.state)


def load(settings: Settings, paths: list[Path], kubeconfig: str) -> None:
    """Brings images to all nodes, by the means of whatever made the cluster. Raises ClusterError."""
    archives = [Archive.open(path) for path in paths]
    for command in loader(_nodes(settings, kubeconfig)[0], [str(archive.path) for archive in archives]):
        run(*command, timeout=900)
    say(f"{len(archives)} archives are loaded")


def loader(node: Mapping[str, Any], paths: list[str]) -> list[list[str]]:
    """The commands that load archives into the cluster of a node. Raises ClusterError for one that takes no archives."""
    provider, labels = node["spec"].get("providerID", ""), node["metadata"].get("labels") or {}
    if provider.startswith("kind://"):  # kind://docker/CLUSTER/NODE
        return [["kind", "load", "image-archive", *paths, f"--name={provider.split('/')[3]}"]]
    if provider.startswith("k3s://k3d-"):  # k3s://k3d-CLUSTER-server-0
        name = provider.removeprefix("k3s://k3d-").rsplit("-", 2)[0]
        return [["k3d", "image", "import", *paths, f"--cluster={name}"]]
    if profile := labels.get("minikube.k8s.io/name"):
        return [["minikube", "image", "load", path, f"--profile={profile}"] for path in paths]
    raise ClusterError(
        "this cluster takes no image archives; push the images to a registry that it pulls from, "
        "and install the chart with image.registry set to it"
    )


def kind_configuration(nodes: int) -> str:
    """Of kind: so many nodes for pods, beside that of the control plane when there are several."""
    roles = ["control-plane", *(["worker"] * nodes if nodes > 1 else [])]
    return yaml.safe_dump(
        {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": role} for role in roles]}
    )


def _made(settings: Settings) -> Path:
    settings.state.mkdir(parents=True, exist_ok=True)
    return settings.kubeconfig


def _nodes(settings: Settings, kubeconfig: str) -> list[Mapping[str, Any]]:
    text = run(kubectl_program(settings), f"--kubeconfig={kubeconfig}", "get", "nodes", "--output=json")
    items: list[Mapping[str, Any]] = json.loads(text)["items"]
    if not items:
        raise ClusterError(f"the cluster of {kubeconfig} has no nodes; add one, or unset KUBECONFIG")
    return items
