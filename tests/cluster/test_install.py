"""What `helm install` makes: pods under the restricted standard, `helm test`, and a small profile that is small."""

from __future__ import annotations

from tests.support.cluster import Cluster
from tests.support.cluster_install import RESTRICTED, SERVICES, SMALL, Installation

MOST_MEMORY = 600 * 2**20
"""Bytes that the whole small profile may use while nobody is signed in."""


def test_every_service_runs_under_the_restricted_standard(parley: Installation) -> None:
    labels = parley.cluster.kubectl_json("get", "namespace", parley.space.name)["metadata"]["labels"]
    assert labels.items() >= RESTRICTED.items()
    for service in SERVICES:
        assert all(pod.ready and not pod.restarts for pod in parley.pods(service)), service
    claims = parley.space.kubectl_json("get", "pods", "--selector=parley-process=true")["items"]
    for pod in claims:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["status"]["qosClass"] in ("Burstable", "Guaranteed")


def test_helm_test_passes(parley: Installation) -> None:
    said = parley.helm("test", parley.release, "--logs", "--timeout=120s")
    assert "Succeeded" in said
    for step in ("call", "message", "presence", "relay", "trace"):
        assert step in said.lower(), said


def test_pods_of_a_service_are_on_different_nodes(parley: Installation, cluster: Cluster) -> None:
    for service in ("frontend", "registrar", "presence"):
        assert len({pod.node for pod in parley.ready(service)}) == min(2, len(cluster.node_ips)), service


def test_the_small_profile_works_and_is_small(small: Installation) -> None:
    assert "Succeeded" in small.helm("test", small.release, "--logs", "--timeout=120s")
    memory = small.memory()
    print({name: f"{size / 2**20:.0f} MiB" for name, size in memory.items()})
    assert set(memory) == {"edge", "core", "valkey"}
    assert sum(memory.values()) < MOST_MEMORY


def test_uninstalling_keeps_keys_and_data(small: Installation) -> None:
    """Who installs again under the same name finds the users of before."""
    small.make_users(["keeper"])
    key = small.secret("master-key", "master-key")
    small.helm("uninstall", small.release, "--wait", "--timeout=90s")
    small.install(*SMALL)
    assert small.secret("master-key", "master-key") == key
    assert "keeper" in small.parley("core", "user", "show", "keeper@example.test")
