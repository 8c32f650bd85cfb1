"""A node of the local cluster fails like a machine whose power fails, and comes back."""

from __future__ import annotations

import json

import pytest

from tests.support.cluster import Cluster
from tools.cluster import images


@pytest.mark.empties_node
def test_pods_of_a_node_whose_power_failed_move_and_the_node_comes_back(cluster: Cluster) -> None:
    if not cluster.own:
        pytest.skip("only nodes of tools/cluster can be switched off")
    cluster.load(*(archive.path for archive in images.of_programs(cluster.settings)))
    victim = sorted(cluster.node_ips)[-1]

    def ready() -> bool:
        conditions = cluster.kubectl_json("get", "node", victim)["status"]["conditions"]
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    with cluster.namespace("local-nodes") as namespace:
        container = {"name": "probe", "image": images.PROBE, "imagePullPolicy": "IfNotPresent"}
        near = {"weight": 1, "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [victim]}]}}
        affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [near]}}
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], "affinity": affinity}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        namespace.apply(
            json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
        )
        namespace.rolled_out("deployment/web")

        def places() -> set[str]:
            pods = namespace.kubectl_json("get", "pods")["items"]
            return {pod["spec"].get("nodeName", "") for pod in pods if pod["status"]["phase"] == "Running"}

        assert places() == {victim}
        cluster.kill_node(victim)
        try:
            cluster.wait_for("the node is found to be gone", lambda: not ready(), timeout=60, pause=1)
            cluster.wait_for("its pod runs elsewhere", lambda: places() - {victim}, timeout=60, pause=1)
        finally:
            cluster.start_node(victim)
        assert ready()
        cluster.wait_for("the dead pod is gone", lambda: victim not in places(), timeout=60, pause=1)

    def untainted() -> bool:
        """Who is put there meanwhile may be sent away again."""
        return not cluster.kubectl_json("get", "node", victim)["spec"].get("taints")

    cluster.wait_for("nothing keeps pods away from it", untainted, timeout=60, pause=1)
