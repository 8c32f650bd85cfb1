"""Who may reach what inside the cluster: services each other, and strangers nothing but the ports of clients."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.cluster import Namespace
from tests.support.cluster_install import Installation

CLOSED = {
    "registrar": (9090,), "addressbook": (9090,), "presence": (9090,), "messaging": (9090,), "conference": (9090,),
    "immcu": (9090,), "avedge": (9090,), "frontend": (9090, 9464), "valkey": (6379,), "kafka": (9092, 9093),
    "jaeger": (4317,),
}  # fmt: skip
"""Ports of pods that nobody outside may reach: gRPC, metrics, store, bus, traces."""
OPEN = {"frontend": (5060, 5061), "web": (8443,)}
"""Ports of pods that clients reach."""
CONNECT = """
import asyncio, sys
async def reached(address):
    host, port = address.split(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 3)
    except TimeoutError:
        return
    writer.close()
    print(address)
async def main():
    await asyncio.gather(*map(reached, sys.argv[1:]))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def stranger(installed: Installation) -> Iterator[Namespace]:
    """A namespace with a pod that has nothing to do with this Parley."""
    deployment = installed.space.kubectl_json("get", installed.workload("frontend"))
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    container = {"name": "stranger", "image": image, "command": ["sleep", "infinity"], "imagePullPolicy": "IfNotPresent"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    with installed.cluster.namespace("stranger") as namespace:
        namespace.apply(json.dumps(pod))
        namespace.kubectl("wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
        yield namespace


def addresses(parley: Installation, ports: dict[str, tuple[int, ...]]) -> set[str]:
    """Addresses of pods of components, with those ports."""
    return {f"{parley.ready(component)[0].address}:{port}" for component in ports for port in ports[component]}


def test_a_stranger_reaches_what_clients_reach_and_nothing_else(parley: Installation, stranger: Namespace) -> None:
    shut, open_ = addresses(parley, CLOSED), addresses(parley, OPEN)
    reached = stranger.exec("stranger", "python3", "-c", CONNECT, *shut, *open_).split()
    assert set(reached) == open_


def test_every_pod_is_under_a_policy(parley: Installation) -> None:
    policies = parley.space.kubectl_json("get", "networkpolicies")["items"]
    selected = [item["spec"]["podSelector"]["matchLabels"] for item in policies]
    for pod in parley.space.kubectl_json("get", "pods")["items"]:
        labels = pod["metadata"]["labels"]
        assert any(labels.items() >= wanted.items() for wanted in selected), f"{pod['metadata']['name']} is open to all"
