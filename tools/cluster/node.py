"""A node: a machine of its own made of namespaces, with containerd, kubelet and kube-proxy.

Its first process keeps it alive: when that is killed, the kernel ends everything on the node, as a power failure does.
What is on the node's disk (images, the volumes of pods) is in ``<state>/n<number>`` and outlives that.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Final

import grpc
import yaml

from tools.cluster import cgroups, images, namespaces, network
from tools.cluster.machine import cni_folder
from tools.cluster.pki import Authority
from tools.cluster.settings import DNS_SERVICE, NAME, PODS, Settings, pods_of
from tools.cluster.shell import Program, run, start, succeeds, wait_for

_CRI: Final = "/run/containerd/containerd.sock"
_KERNEL: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What the kubelet wants of the kernel. Nodes are shown these values, so that the machine keeps its own."""
_FOLDERS: Final = ("containerd", "kubelet", "cni", "cni-results", "log", "kernel", "opt")
_CONTAINERD: Final = """\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true            # some VMs let no process lower it
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_programs}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
_MOUNTS: Final = """\
hostname {name}
umount --recursive --lazy /run/netns 2>/dev/null || true   # else namespaces of others would live as long as the node
mount --make-rshared /
[ ! -e /etc/resolv.conf ] || mount --bind {folder}/resolv.conf /etc/resolv.conf   # where it points to may be in /run
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock
mount --bind {folder}/kubelet /var/lib/kubelet
mount --make-rshared /var/lib/kubelet
mount --bind {folder}/cni-results /var/lib/cni
mount --bind {folder}/log /var/log
"""


class Node:
    """One node, by its number."""

    def __init__(self, settings: Settings, number: int) -> None:
        self._settings = settings
        self.number = number
        self.name = f"n{number}"
        self.folder = settings.state / self.name
        self._group = f"{NAME}-{self.name}"

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return namespaces.first_process(self.number) is not None

    def switch_on(self, archives: list[images.Archive]) -> None:
        """Makes the machine and starts containerd with those images. Raises ClusterError."""
        for folder in _FOLDERS:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / "log" / "containers").mkdir(exist_ok=True)
        network.plug_node(self._settings, self.number)
        cgroups.make(self._group)
        self._write_files()
        self._boot()
        containerd = self._program("containerd", "containerd", f"--config={self.folder}/containerd.toml")
        containerd.wait_until(self._runs_containers)
        images.NodeImages(self._settings, self.number).load(archives)

    def join(self, authority: Authority) -> None:
        """Starts kubelet and kube-proxy, when the API answers. Raises ClusterError."""
        pki, settings = self._settings.pki, self._settings
        address = settings.node_ip(self.number)
        authority.issue(self.name, f"system:node:{self.name}", "system:nodes", [self.name, address])
        authority.kubeconfig(pki / f"{self.name}.kubeconfig", self.name)
        kubelet = self._program(
            "kubelet",
            settings.programs / "kubelet",
            f"--config={self.folder}/kubelet.yaml",
            f"--kubeconfig={pki}/{self.name}.kubeconfig",
            f"--hostname-override={self.name}",
            f"--node-ip={address}",
            "--root-dir=/var/lib/kubelet",
            "--v=2",
        )
        self._program("kube-proxy", settings.programs / "kube-proxy", f"--config={self.folder}/proxy.yaml")
        kubectl = (settings.programs / "kubectl", f"--kubeconfig={settings.kubeconfig}", "get", "node", self.name)
        kubelet.wait_until(lambda: succeeds(*kubectl))

    def switch_off(self) -> None:
        """A power failure: nothing more is sent, everything ends, the disk stays. Raises ClusterError."""
        network.unplug_node(self.number)
        first = namespaces.first_process(self.number)
        if first is not None:
            namespaces.kill([first])
        namespaces.remove(namespaces.of_node(self.number))
        cgroups.remove(self._group)

    def _runs_containers(self) -> bool:
        """Whether containerd answers kubelet: for a moment it serves, but not that. A kubelet that is refused ends."""
        first = namespaces.first_process(self.number)
        with grpc.insecure_channel(f"unix:/proc/{first}/root{_CRI}") as channel:
            try:
                channel.unary_unary("/runtime.v1.RuntimeService/Version", None, None)(b"", timeout=2)
            except grpc.RpcError:
                return False
        return True

    def _boot(self) -> None:
        """Starts the first process, in namespaces of its own, and mounts what only this node sees."""
        pause = self._settings.programs / "pause"
        shares = ("unshare", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--propagation=slave")
        start(namespaces.inside(namespaces.of_node(self.number), *shares, pause), self._settings.log(f"{self.name}-machine"))
        wait_for(f"the start of {self.name}", lambda: self.running, timeout=30, pause=0.02)
        script = _MOUNTS.format(name=self.name, folder=shlex.quote(str(self.folder)))
        for key, value in _KERNEL.items():
            file = self.folder / "kernel" / key.replace("/", ".")
            file.write_text(f"{value}\n")
            script += f"mount --bind {shlex.quote(str(file))} /proc/sys/{key}\n"
        run(*namespaces.in_node(self.number, "sh", "-ec", script))

    def _write_files(self) -> None:
        folder = self.folder
        text = _CONTAINERD.format(folder=folder, pause=images.PAUSE, cni_programs=cni_folder())
        (folder / "containerd.toml").write_text(text)
        (folder / "cni" / "10-pods.conflist").write_text(json.dumps(cni(self.number), indent=1))
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # there is no DNS outside the cluster
        settings = self._settings
        (folder / "kubelet.yaml").write_text(
            yaml.safe_dump(kubelet_configuration(settings.pki, folder, self.name, self._group))
        )
        (folder / "proxy.yaml").write_text(
            yaml.safe_dump(proxy_configuration(settings.pki, self.name, settings.node_ip(self.number)))
        )

    def _program(self, name: str, *command: str | Path) -> Program:
        log = self._settings.log(f"{self.name}-{name}")
        return Program(f"{name} of {self.name}", namespaces.in_node(self.number, *command), log)


def cni(number: int) -> dict[str, object]:
    """How a node's pods are plugged in: to a bridge, with addresses of the node's range, and with host ports."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": pods_of(number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni-addresses",
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}


def kubelet_configuration(pki: Path, folder: Path, name: str, group: str) -> dict[str, object]:
    """Of the kubelet. Images are never collected, as they could not be pulled again."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/{name}.crt",
        "tlsPrivateKeyFile": f"{pki}/{name}.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{group}",
        "failCgroupV1": False,
        "containerRuntimeEndpoint": f"unix://{_CRI}",
        "volumePluginDir": f"{folder}/kubelet/plugins-exec",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{folder}/resolv.conf",
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }


def proxy_configuration(pki: Path, name: str, address: str) -> dict[str, object]:
    """Of kube-proxy. The limits of connection tracking are the machine's, and stay."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": f"{PODS}.0.0/16",
        "hostnameOverride": name,
        "clientConnection": {"kubeconfig": f"{pki}/kube-proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "bindAddress": address,
        "healthzBindAddress": f"{address}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }
