"""The local cluster's decisions: where it is, whether the machine will do, which kind of cluster is used."""

from __future__ import annotations

import datetime
import os
import platform
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from tools.cluster import cgroups, elsewhere, machine, namespaces, network, node, own
from tools.cluster.pki import Authority
from tools.cluster.settings import HERE, ClusterError, Settings, kubernetes_version, node_number

GIB = 1 << 30


def settings(**environment: str) -> Settings:
    return Settings.of({"PARLEY_CACHE": "/cache", "PARLEY_CLUSTER": "/var/lib/parley-cluster", **environment})


def test_settings_follow_the_environment() -> None:
    made = settings(PARLEY_CLUSTER="/srv/k8s", NODES="3", PARLEY_CLUSTER_NETWORK="10.97.1")
    assert made.kubeconfig == Path("/srv/k8s/admin.kubeconfig")
    assert made.nodes == 3
    assert (made.machine, made.control, made.node_ip(2)) == ("10.97.1.1", "10.97.1.10", "10.97.1.12")
    assert made.programs == Path(f"/cache/kubernetes-{made.version}/bin")
    assert Settings.of({"XDG_CACHE_HOME": "/xdg"}).cache == Path("/xdg/parley")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NODES": "0"}, "NODES"),
        ({"NODES": "two"}, "NODES"),
        ({"NODES": "10"}, "NODES"),
        ({"PARLEY_CLUSTER_NETWORK": "10.98.0.0/24"}, "PARLEY_CLUSTER_NETWORK"),
        ({"PARLEY_CLUSTER_NETWORK": "10.98.256"}, "PARLEY_CLUSTER_NETWORK"),
    ],
)
def test_values_that_make_no_sense_are_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        settings(**environment)


def test_the_version_is_that_of_the_module() -> None:
    assert kubernetes_version("require (\n\tk8s.io/kubernetes v1.34.4\n)\n") == "1.34.4"
    with pytest.raises(ClusterError):
        kubernetes_version("module x\n")


def test_nodes_are_named_by_number() -> None:
    assert node_number("2") == node_number("n2") == 2
    for text in ("", "0", "n", "n10", "node2"):
        with pytest.raises(ClusterError):
            node_number(text)


def test_no_proxy_has_the_clusters_addresses_once() -> None:
    first = settings().no_proxy({"NO_PROXY": "example.com"})
    assert first == "10.98.0.0/24,10.244.0.0/16,10.96.0.0/16,example.com"
    assert settings().no_proxy({"NO_PROXY": first}) == first


def test_addresses_that_lead_elsewhere_are_found() -> None:
    wanted = ["10.98.0.0/24", "10.244.0.0/16"]
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.98.0.0/24", "dev": "parley-cluster"},
        {"dst": "192.168.0.0/16", "dev": "eth0"},
        {"dst": "127.0.0.1", "dev": "lo"},
    ]
    assert network.overlapping(routes, wanted) == []
    assert network.overlapping([{"dst": "10.98.0.7", "dev": "eth0"}], wanted) == ["10.98.0.0/24"]
    assert network.overlapping([{"dst": "10.0.0.0/8", "dev": "vpn"}], wanted) == wanted


def test_too_little_memory_or_disk_is_said() -> None:
    machine.check_space(4 * GIB, 20 * GIB, settings())
    with pytest.raises(ClusterError, match=r"1\.5 GiB of memory are free, and 2 nodes need 2\.0"):
        machine.check_space(3 * GIB // 2, 20 * GIB, settings())
    with pytest.raises(ClusterError, match="GiB of disk"):
        machine.check_space(4 * GIB, GIB, settings())
    assert machine.available_memory("MemTotal: 9 kB\nMemAvailable:   2048 kB\n") == 2 << 20


def test_nodes_of_our_own_need_root_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="need root"):
        machine.check_root()
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(ClusterError, match="need Linux"):
        machine.check_root()


@pytest.mark.parametrize("folder", ["/run/cluster", "/var/log/cluster", "/var/lib/kubelet", "/", "/srv"])
def test_a_state_that_nodes_would_not_see_is_refused(folder: str) -> None:
    with pytest.raises(ClusterError, match="choose a folder"):
        machine.check_place(Path(folder))


def test_a_folder_of_something_else_is_never_taken_for_the_state(tmp_path: Path) -> None:
    machine.check_state(tmp_path / "absent")
    machine.check_state(tmp_path)
    (tmp_path / "letters").mkdir()
    with pytest.raises(ClusterError, match="something else"):
        machine.check_state(tmp_path)
    (tmp_path / machine.NOTE).write_text("{}")
    machine.check_state(tmp_path)


def controllers_v1(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir()
        (root / name / "cgroup.procs").write_text("")
    (root / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (root / "cpuset" / "cpuset.mems").write_text("0\n")


def test_control_groups_of_version_1_are_made_in_every_tree(tmp_path: Path) -> None:
    controllers_v1(tmp_path, "cpu,cpuacct", "cpuset", "memory", "pids")
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.procs").write_text("")
    (tmp_path / "unified" / "cgroup.controllers").write_text("")
    assert sorted(tree.name for tree in cgroups.trees(tmp_path)) == ["cpu,cpuacct", "cpuset", "memory", "pids"]
    (tmp_path / "cpuset" / "parley-cluster-n1").mkdir()
    (tmp_path / "cpuset" / "parley-cluster-n1" / "cpuset.cpus").write_text("")
    (tmp_path / "cpuset" / "parley-cluster-n1" / "cpuset.mems").write_text("")
    cgroups.make("parley-cluster-n1", tmp_path)
    assert (tmp_path / "cpuset" / "parley-cluster-n1" / "cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "memory" / "parley-cluster-n1").is_dir()
    assert not (tmp_path / "unified" / "parley-cluster-n1").exists()
    assert cgroups.ours(tmp_path) == {"parley-cluster-n1"}


def test_control_groups_of_version_2_get_their_controllers_passed_on(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    cgroups.make("parley-cluster-n1", tmp_path)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +hugetlb +io +pids"
    assert (tmp_path / "parley-cluster-n1").is_dir()
    assert cgroups.ours(tmp_path) == {"parley-cluster-n1"}
    (tmp_path / "parley-cluster-n1" / "kubepods" / "pod1").mkdir(parents=True)
    cgroups.remove("parley-cluster-n1", tmp_path)
    assert not (tmp_path / "parley-cluster-n1").exists()
    cgroups.remove("parley-cluster-n1", tmp_path)


def test_missing_controllers_are_said(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory\n")
    with pytest.raises(ClusterError, match="cpuset, pids"):
        cgroups.trees(tmp_path)


def test_programs_are_known_by_their_arguments() -> None:
    assert namespaces.command_of(b"/cache/bin/kube-apiserver\0--etcd-servers=x\0") == "kube-apiserver"
    assert namespaces.command_of(b"/usr/bin/python3\0-m\0tools.cluster.agent\0") == "tools.cluster.agent"
    assert namespaces.command_of(b"") == ""


def test_mounts_in_the_state_are_found_deepest_first() -> None:
    text = "\n".join(
        f"1 2 0:1 / {point} rw - ext4 /dev/x rw" for point in ("/", "/state", "/state/a", "/state/a/b", "/stateful")
    )
    assert own.mounts_below(Path("/state"), text) == ["/state/a/b", "/state/a"]


def test_what_a_node_said_before_it_was_off_does_not_make_it_ready() -> None:
    def said(status: str, at: str) -> dict[str, Any]:
        return {"status": {"conditions": [{"type": "Ready", "status": status, "lastHeartbeatTime": at}]}}

    now = datetime.datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=datetime.UTC)
    assert own.is_ready(said("True", "2026-01-01T12:00:00Z"), now)
    assert not own.is_ready(said("True", "2026-01-01T11:59:59Z"), now)
    assert not own.is_ready(said("False", "2026-01-01T12:00:05Z"), now)
    assert not own.is_ready({"status": {}}, now)


@pytest.mark.parametrize(
    ("asked", "exists", "own_runs", "installed", "kind"),
    [
        ("", True, True, "docker kind k3d", "existing"),
        ("", False, False, "docker kind k3d", "kind"),
        ("", False, False, "docker k3d", "k3d"),
        ("", False, False, "docker", "own"),
        ("", False, False, "kind k3d", "own"),
        ("", False, True, "docker kind", "own"),
        ("own", True, False, "docker kind", "own"),
        ("k3d", False, False, "docker kind k3d", "k3d"),
    ],
)
def test_which_kind_of_cluster_is_used(asked: str, exists: bool, own_runs: bool, installed: str, kind: str) -> None:
    tools = {name: name in installed.split() for name in ("docker", "kind", "k3d")}
    assert elsewhere.choose(asked, exists, own_runs, tools) == kind


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ClusterError, match="PARLEY_CLUSTER_WITH"):
        elsewhere.choose("minikube", False, False, {"docker": False, "kind": False, "k3d": False})


def a_node(provider: str = "", **labels: str) -> dict[str, Any]:
    return {"spec": {"providerID": provider}, "metadata": {"labels": labels}}


def test_images_are_loaded_by_the_means_of_what_made_the_cluster() -> None:
    assert elsewhere.loader(a_node("kind://docker/parley/parley-worker"), ["a.tar"]) == [
        ["kind", "load", "image-archive", "a.tar", "--name=parley"]
    ]
    assert elsewhere.loader(a_node("k3s://k3d-my-test-server-0"), ["a.tar", "b.tar"]) == [
        ["k3d", "image", "import", "a.tar", "b.tar", "--cluster=my-test"]
    ]
    labels = {"minikube.k8s.io/name": "minikube"}
    assert elsewhere.loader(a_node(**labels), ["a.tar"]) == [["minikube", "image", "load", "a.tar", "--profile=minikube"]]
    with pytest.raises(ClusterError, match="registry"):
        elsewhere.loader(a_node("gce://project/zone/node"), ["a.tar"])


def test_kind_has_nodes_for_pods_beside_the_control_plane() -> None:
    def roles(nodes: int) -> list[str]:
        return [entry["role"] for entry in yaml.safe_load(elsewhere.kind_configuration(nodes))["nodes"]]

    assert roles(2) == ["control-plane", "worker", "worker"]
    assert roles(1) == ["control-plane"]


def test_certificates_are_for_whom_they_say_and_kubeconfigs_use_them(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki", "https://10.98.0.10:6443")
    authority.issue("n1", "system:node:n1", "system:nodes", ["n1", "10.98.0.11"])
    certificate = x509.load_pem_x509_certificate((tmp_path / "pki" / "n1.crt").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.98.0.11"]
    for key in ("n1.key", "ca.key"):
        assert (tmp_path / "pki" / key).stat().st_mode & 0o077 == 0
    context = ssl.create_default_context(cafile=tmp_path / "pki" / "ca.crt")
    context.load_cert_chain(tmp_path / "pki" / "n1.crt", tmp_path / "pki" / "n1.key")

    before = (tmp_path / "pki" / "n1.crt").read_bytes()
    again = Authority(tmp_path / "pki", "https://10.98.0.10:6443")
    again.issue("n1", "system:node:n1", "system:nodes")
    again.kubeconfig(tmp_path / "n1.kubeconfig", "n1")
    assert (tmp_path / "pki" / "n1.crt").read_bytes() == before
    written = yaml.safe_load((tmp_path / "n1.kubeconfig").read_text())
    assert written["clusters"][0]["cluster"]["server"] == "https://10.98.0.10:6443"
    assert (tmp_path / "n1.kubeconfig").stat().st_mode & 0o077 == 0


def test_manifests_are_whole_once_their_names_are_replaced() -> None:
    texts = [
        own.manifest("coredns", image="localhost/coredns:1", address="10.96.0.10", replicas=2),
        own.manifest("metrics", address="10.98.0.10", port=4443, authority="QUJD"),
        own.manifest("storage", provisioner="parley.test/folder"),
    ]
    assert len(texts) == len(list((HERE / "manifests").glob("*.yaml")))
    documents = [document for text in texts for document in yaml.safe_load_all(text)]
    assert all(document["kind"] and document["metadata"]["name"] for document in documents)
    with pytest.raises(KeyError):
        own.manifest("storage")


def test_a_nodes_pods_have_its_addresses_and_its_kubelet_its_group() -> None:
    plugins: Any = node.cni(2)["plugins"]
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": "10.244.2.0/24"}]]
    assert plugins[1]["type"] == "portmap"
    kubelet = node.kubelet_configuration(Path("/pki"), Path("/state/n2"), "n2", "parley-cluster-n2")
    assert kubelet["cgroupRoot"] == "/parley-cluster-n2"
    assert kubelet["tlsCertFile"] == "/pki/n2.crt"
