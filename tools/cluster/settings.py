"""Where a cluster's files and addresses are. Everything here follows from the environment and from ``node/go.mod``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
NAME: Final = "parley-cluster"
"""Of the namespaces, of the interface on the machine (15 characters at most) and of the cgroups."""
SERVICES: Final = "10.96.0.0/16"
API_SERVICE: Final = "10.96.0.1"
DNS_SERVICE: Final = "10.96.0.10"
PODS: Final = "10.244"
"""The first half of every pod's address; the node's number follows."""
MOST_NODES: Final = 9


class ClusterError(Exception):
    """Something that whoever called can put right; the text is a sentence that says how."""


def kubernetes_version(go_mod: str) -> str:
    """The version that a go.mod asks for, without the "v". Raises ClusterError."""
    found = re.search(r"^\tk8s\.io/kubernetes v(\S+)$", go_mod, re.MULTILINE)
    if not found:
        raise ClusterError("tools/cluster/node/go.mod names no version of k8s.io/kubernetes; restore it from git")
    return found[1]


def node_number(text: str) -> int:
    """The number of a node, written as "2" or "n2". Raises ClusterError."""
    found = re.fullmatch(r"n?([1-9])", text)
    if not found:
        raise ClusterError(f"{text!r} is no node; write its number, from 1 to {MOST_NODES}")
    return int(found[1])


@dataclass(frozen=True)
class Settings:
    """What the environment asks for."""

    state: Path
    """Keys, etcd's data, nodes, volumes and logs of the running cluster; removed with it."""
    cache: Path
    nodes: int
    network: str
    """The first three numbers of the addresses of the machine, the control plane and the nodes."""
    version: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Reads PARLEY_CLUSTER, PARLEY_CLUSTER_NETWORK, PARLEY_CACHE, XDG_CACHE_HOME and NODES. Raises ClusterError."""
        nodes = environment.get("NODES", "2")
        if nodes not in map(str, range(1, MOST_NODES + 1)):
            raise ClusterError(f"NODES is {nodes!r}; set it to a number from 1 to {MOST_NODES}")
        network = environment.get("PARLEY_CLUSTER_NETWORK", "10.98.0")
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", network) or any(int(part) > 255 for part in network.split(".")):
            raise ClusterError(f"PARLEY_CLUSTER_NETWORK is {network!r}; set it to three numbers, as in 10.98.0")
        base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return cls(
            state=Path(environment.get("PARLEY_CLUSTER") or _usual_state(environment)).absolute(),
            cache=Path(environment.get("PARLEY_CACHE") or Path(base) / "parley"),
            nodes=int(nodes),
            network=network,
            version=kubernetes_version((HERE / "node" / "go.mod").read_text()),
        )

    @classmethod
    def from_environment(cls) -> Self:
        """What this process was started with."""
        return cls.of(os.environ)

    @property
    def programs(self) -> Path:
        """What ``build.sh`` made."""
        return self.cache / f"kubernetes-{self.version}" / "bin"

    @property
    def kubeconfig(self) -> Path:
        """How an administrator reaches the cluster."""
        return self.state / "admin.kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.state / "pki"

    @property
    def machine(self) -> str:
        """The machine's address among the nodes; pods reach it, and nothing else outside."""
        return f"{self.network}.1"

    @property
    def control(self) -> str:
        """The address of the control plane, and of the switch that all are plugged into."""
        return f"{self.network}.10"

    @property
    def server(self) -> str:
        """The API."""
        return f"https://{self.control}:6443"

    def no_proxy(self, environment: Mapping[str, str]) -> str:
        """The variable NO_PROXY with the cluster's addresses, which no proxy reaches."""
        given = environment.get("NO_PROXY") or environment.get("no_proxy", "")
        ours = [f"{self.network}.0/24", f"{PODS}.0.0/16", SERVICES]
        return ",".join([*ours, *(part for part in given.split(",") if part and part not in ours)])

    def node_ip(self, number: int) -> str:
        """A node's address; its NodePorts are there."""
        return f"{self.network}.{10 + number}"

    def log(self, name: str) -> Path:
        """The file that a program's output goes to."""
        return self.state / "logs" / f"{name}.log"


def _usual_state(environment: Mapping[str, str]) -> Path:
    """Root's, or what root made; else a folder of the user's own, for clusters of kind and k3d."""
    shared = Path(f"/var/lib/{NAME}")
    if os.geteuid() == 0 or shared.exists():
        return shared
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / NAME


def pods_of(number: int) -> str:
    """The addresses of a node's pods."""
    return f"{PODS}.{number}.0/24"
