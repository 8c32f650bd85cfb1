"""The cluster itself does what tests of the chart rely on: Kubernetes, network, volumes, metrics."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from functools import partial

import pytest
import yaml

from tests.support.cluster import Cluster, CommandError, Namespace
from tools.cluster import images

WEB = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 5
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {{matchLabels: {{app: web}}}}
      containers:
        - name: probe
          image: {images.PROBE}
          imagePullPolicy: IfNotPresent
          ports:
            - {{name: http, containerPort: 8080}}
            - {{name: echo, containerPort: 5683, protocol: UDP}}
          readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
          lifecycle: {{preStop: {{sleep: {{seconds: 1}}}}}}
          resources: {{requests: {{cpu: 50m, memory: 16Mi}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{name: echo, port: 5683, targetPort: echo, protocol: UDP}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web}}
spec:
  minAvailable: 1
  selector: {{matchLabels: {{app: web}}}}
"""


def pod(name: str, **spec: object) -> str:
    container = {"name": "probe", "image": images.PROBE, "imagePullPolicy": "IfNotPresent"}
    whole = {
        "containers": [{**container, "volumeMounts": spec.pop("mounts", [])}],
        "terminationGracePeriodSeconds": 1,
        **spec,
    }
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": whole}
    )


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace with two pods behind Services, and a client."""
    cluster.load(*(archive.path for archive in images.of_programs(cluster.settings)))
    with cluster.namespace("local-cluster") as namespace:
        namespace.apply(WEB)
        namespace.apply(pod("client"))
        namespace.rolled_out("deployment/web")
        namespace.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
        yield namespace


def test_every_node_is_ready(cluster: Cluster) -> None:
    nodes = cluster.kubectl_json("get", "nodes")["items"]
    ready = {
        node["metadata"]["name"]: condition["status"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    assert ready
    assert set(ready.values()) == {"True"}


def test_a_service_is_found_by_name_and_spreads_its_connections(space: Namespace) -> None:
    assert space.exec("client", "/probe", "lookup", f"web.{space.name}.svc.cluster.local").strip()

    def both_answer() -> bool:
        answers = space.exec("client", "/probe", "get", *["http://web/"] * 20).split()
        assert len(answers) == 20
        return len(set(answers)) == 2

    # A node learns of a pod that is ready a moment later.
    space.cluster.wait_for("both pods answer", both_answer, timeout=20)


def test_a_udp_node_port_answers_on_every_node(cluster: Cluster, space: Namespace) -> None:
    port = space.kubectl_json("get", "service", "echo")["spec"]["ports"][0]["nodePort"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)

        def answered(address: str) -> bool:
            """A node knows of a new Service a moment after the API does; who uses UDP asks again."""
            client.sendto(address.encode(), (address, port))
            try:
                return client.recv(100).endswith(f" {address}".encode())
            except TimeoutError:
                return False

        for address in cluster.node_ips.values():
            cluster.wait_for(f"an answer at {address}", partial(answered, address), timeout=20)
    assert space.exec("client", "/probe", "udp", "echo:5683").strip().endswith(" hello")


def test_logs_and_port_forward_reach_a_pod(space: Namespace) -> None:
    assert "serving as client" in space.kubectl("logs", "client")
    with (
        space.port_forward("pod/client", 8080) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer,
    ):
        assert answer.read() == b"client\n"


def test_a_pod_that_breaks_the_restricted_standard_is_refused(cluster: Cluster) -> None:
    with (
        cluster.namespace("restricted", **{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace,
        pytest.raises(CommandError, match="violates PodSecurity"),
    ):
        namespace.apply(pod("client"))


def test_a_policy_shuts_pods_but_for_what_it_opens(cluster: Cluster, space: Namespace) -> None:
    def policy(name: str, **spec: object) -> str:
        whole = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], **spec}
        kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
        return json.dumps({**kind, "metadata": {"name": name}, "spec": whole})

    def reached() -> bool:
        return bool(space.exec("client", "/probe", "get", "http://web/"))

    def shut() -> bool:
        try:
            return not reached()
        except CommandError as error:
            return any(text in str(error) for text in ("deadline exceeded", "timeout", "refused"))

    space.apply(policy("default-deny"))
    cluster.wait_for("default deny", shut, timeout=20)
    space.apply(
        policy(
            "open-to-client",
            ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": "http"}]}],
        )
    )
    cluster.wait_for("the named port is open to the client", reached, timeout=20)
    with pytest.raises(CommandError, match="timeout"):
        space.exec("client", "/probe", "udp", "echo:5683")
    ready = space.kubectl_json("get", "deployment", "web")["status"]["readyReplicas"]
    assert ready == 2, "the kubelet's probes are let in"
    space.kubectl("delete", "networkpolicy", "--all")
    cluster.wait_for("everything is open again", lambda: space.exec("client", "/probe", "udp", "echo:5683"), timeout=20)


def test_a_volume_outlives_its_pod_and_a_claim_made_anew_gets_an_empty_one(cluster: Cluster, space: Namespace) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    keeper = pod(
        "keeper",
        securityContext={"fsGroup": 65532},
        mounts=[{"name": "data", "mountPath": "/data"}],
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )

    def start() -> str:
        space.apply(keeper)
        space.kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=60s")
        volume: str = space.kubectl_json("get", "pvc", "data")["spec"]["volumeName"]
        return volume

    def end() -> None:
        space.kubectl("delete", "pod", "keeper", "--wait")

    space.apply(json.dumps(claim))
    first = start()
    space.exec("keeper", "/probe", "write", "/data/file", "kept")
    end()
    assert start() == first
    assert space.exec("keeper", "/probe", "read", "/data/file") == "kept\n"
    end()
    space.kubectl("delete", "pvc", "data", "--wait")
    cluster.wait_for("the volume goes with its claim", lambda: first not in cluster.kubectl("get", "pv", "--output=name"))
    space.apply(json.dumps(claim))
    assert start() != first
    with pytest.raises(CommandError, match="no such file"):
        space.exec("keeper", "/probe", "read", "/data/file")
    end()


def test_an_autoscaler_sees_how_busy_pods_are(cluster: Cluster, space: Namespace) -> None:
    container = {
        "name": "probe",
        "image": images.PROBE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["burn"],
        "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "200m"}},
    }
    template = {
        "metadata": {"labels": {"app": "busy"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "busy"}}, "template": template}
    space.apply(json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"}, "spec": spec}))
    space.kubectl("autoscale", "deployment", "busy", "--min=1", "--max=2", "--cpu=100%")
    try:
        cluster.wait_for(
            "the autoscaler wants two pods",
            lambda: space.kubectl_json("get", "hpa", "busy")["status"].get("desiredReplicas") == 2,
            timeout=90,
        )
    finally:
        space.kubectl("delete", "hpa,deployment", "busy", "--wait=false")


@pytest.mark.empties_node
def test_a_drained_node_gives_its_pods_to_another(cluster: Cluster, space: Namespace) -> None:
    client = space.kubectl_json("get", "pod", "client")["spec"]["nodeName"]
    others = [name for name in cluster.node_ips if name != client]
    assert others, "the cluster needs two nodes"
    try:
        cluster.kubectl("drain", others[0], "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
        space.rolled_out("deployment/web")
        pods = space.kubectl_json("get", "pods", "--selector=app=web")["items"]
        places = {item["spec"]["nodeName"] for item in pods if not item["metadata"].get("deletionTimestamp")}
        assert others[0] not in places
        assert space.exec("client", "/probe", "get", "http://web/")
    finally:
        cluster.kubectl("uncordon", others[0])


def test_resources_of_other_apis_can_be_defined(cluster: Cluster) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.local-cluster.parley.test"},
        "spec": {
            "group": "local-cluster.parley.test",
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    cluster.apply(yaml.safe_dump(definition))
    try:
        cluster.kubectl("wait", "--for=condition=Established", "crd/things.local-cluster.parley.test", "--timeout=30s")
        assert cluster.kubectl_json("get", "things", "--all-namespaces")["items"] == []
    finally:
        cluster.kubectl("delete", "crd", "things.local-cluster.parley.test")
