"""Properties that every pod of every release has, whatever the values."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.chart.rendering import NAMESPACE, RELEASE, Pod, Rendered, render_with

HOST_NETWORK = {"host-network", "cloud-load-balancer", "gateway-api", "together-on-the-node", "ipv6"}
"""Values with pods that have the network of their node."""
SECONDS_TO_CLOSE = 10
"""What a process may need after its drain."""


def _container(pod: Pod, name: str = "parley") -> dict[str, Any]:
    return next(dict(container) for container in pod.spec["containers"] if container["name"] == name)


def test_every_pod_meets_the_restricted_standard(release: Rendered) -> None:
    assert release.pods
    for pod in release.pods:
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.name
        assert context["runAsUser"] >= 100, pod.name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
        for container in pod.containers:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, pod.name
            assert own["readOnlyRootFilesystem"] is True, pod.name
            assert own["capabilities"] == {"drop": ["ALL"]}, pod.name
            assert not own.get("privileged"), pod.name
        for forbidden in ("hostPID", "hostIPC", "shareProcessNamespace"):
            assert forbidden not in pod.spec, pod.name
        assert not any("hostPath" in volume for volume in pod.spec.get("volumes", ())), pod.name


def test_the_network_of_the_node_is_used_where_it_was_asked_for(release: Rendered, values: str) -> None:
    exposed = [pod.component for pod in release.pods if pod.spec.get("hostNetwork")]
    assert bool(exposed) is (values in HOST_NETWORK)
    assert set(exposed) <= {"frontend", "web", "avedge", "edge"}
    for pod in release.pods:
        if pod.spec.get("hostNetwork"):
            assert pod.spec["dnsPolicy"] == "ClusterFirstWithHostNet"
            strategy = pod.owner["spec"]["strategy"]["rollingUpdate"]
            assert strategy == {"maxUnavailable": 1, "maxSurge": 0}  # the ports of a node can be had once


def test_only_the_job_that_makes_secrets_has_a_token(release: Rendered) -> None:
    with_token = [pod.component for pod in release.pods if pod.spec["automountServiceAccountToken"]]
    assert with_token in ([], ["init-secrets"])
    accounts = release.of("ServiceAccount")
    for pod in release.pods:
        assert accounts[pod.spec["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False  # variables PARLEY_... of Services would be taken for configuration


def test_what_the_token_allows_is_no_more_than_its_secrets(release: Rendered) -> None:
    for name, role in release.of("Role").items():
        own = name.removesuffix("init-secrets")
        for rule in role["rules"]:
            assert rule["apiGroups"] == [""]
            assert rule["resources"] == ["secrets"]
            if rule["verbs"] != ["create"]:
                assert set(rule["verbs"]) == {"get", "patch"}
                assert all(secret.startswith(own) for secret in rule["resourceNames"])
    assert not release.of("ClusterRole")


def test_every_container_has_requests_and_a_limit_of_memory(release: Rendered) -> None:
    for pod in release.pods:
        for container in pod.containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), pod.name
            assert "memory" in resources["limits"], pod.name


def test_every_container_that_stays_has_three_probes(release: Rendered) -> None:
    for pod in release.pods:
        for container in pod.spec["containers"]:
            probes = [container.get(f"{name}Probe") for name in ("startup", "readiness", "liveness")]
            if pod.owner["kind"] in ("Job", "Pod"):
                assert probes == [None, None, None], pod.name
            else:
                assert all(probes), pod.name
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            for probe in filter(None, probes):
                for kind in ("tcpSocket", "httpGet"):
                    assert kind not in probe or probe[kind]["port"] in ports, pod.name


def test_processes_are_asked_for_their_health_by_name(release: Rendered) -> None:
    for pod in release.processes.values():
        container = _container(pod)
        health = next(number for name, number, _ in pod.ports() if name == "health")
        for name in ("startup", "readiness", "liveness"):
            probe = container[f"{name}Probe"]
            assert isinstance(probe, dict)
            assert probe["grpc"] == {"port": health, "service": name}
        assert f"health_port: {health}" in release.configuration(pod)


def test_a_pod_is_given_time_to_drain(release: Rendered) -> None:
    for pod in release.processes.values():
        container = _container(pod)
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = yaml.safe_load(release.configuration(pod))["platform"]["drain_seconds"]
        assert pause >= 1
        assert pod.spec["terminationGracePeriodSeconds"] >= pause + drain + SECONDS_TO_CLOSE, pod.name


def test_services_drain_as_long_as_their_process(release: Rendered) -> None:
    for pod in release.processes.values():
        sections = yaml.safe_load(release.configuration(pod))
        for service in {"frontend", "avedge"} & set(pod.services):
            assert sections[service]["drain_seconds"] == sections["platform"]["drain_seconds"]


def test_every_pod_is_labelled_and_selected_by_its_owner(release: Rendered) -> None:
    for item in release.objects:
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert {f"app.kubernetes.io/{name}" for name in ("name", "version", "component", "managed-by", "part-of")} <= set(
            labels
        )
        assert labels["helm.sh/chart"].startswith("parley-")
        assert item["metadata"]["namespace"] == NAMESPACE
    for pod in release.pods:
        selector = pod.owner["spec"].get("selector", {}).get("matchLabels")
        if selector is not None:
            assert release.selected(selector) == [pod], pod.name
            assert "app.kubernetes.io/version" not in selector  # a selector cannot be changed


def test_every_volume_is_there_and_every_mount_has_one(release: Rendered, values: str) -> None:
    for pod in release.pods:
        claims = pod.owner["spec"].get("volumeClaimTemplates", ()) if pod.owner["kind"] == "StatefulSet" else ()
        known = {volume["name"] for volume in pod.spec.get("volumes", ())} | {claim["metadata"]["name"] for claim in claims}
        mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", ())}
        assert mounted == known, pod.name
        for volume in pod.spec.get("volumes", ()):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in release.of("ConfigMap"), pod.name


def test_pods_are_made_anew_when_their_configuration_changes(release: Rendered) -> None:
    for pod in release.pods:
        if pod.owner["kind"] in ("Deployment", "StatefulSet"):
            assert "checksum/config" in pod.metadata["annotations"], pod.name


def test_every_process_says_who_it_is_in_traces(release: Rendered, values: str) -> None:
    traced = values in {"values-ha", "everything-given", "embedded-kafka-and-jaeger", "together-on-the-node"}
    for pod in release.pods:
        for container in pod.spec["containers"]:
            if "/parley" not in container["image"] or pod.component == "init-secrets":
                continue
            variables = {item["name"]: item.get("value") for item in container["env"]}
            assert ("OTEL_EXPORTER_OTLP_ENDPOINT" in variables) is traced, pod.name
            attributes = dict(pair.split("=", 1) for pair in variables["OTEL_RESOURCE_ATTRIBUTES"].split(","))
            assert attributes["k8s.namespace.name"] == NAMESPACE
            for name in ("k8s.pod.name", "k8s.pod.uid", "k8s.node.name"):
                variable = attributes[name].removeprefix("$(").removesuffix(")")
                assert variable in variables, pod.name
                names = [item["name"] for item in container["env"]]
                assert names.index(variable) < names.index("OTEL_RESOURCE_ATTRIBUTES")  # else it is not filled in
            assert "service.version" in attributes
            assert "service.name" not in attributes  # each service of a process says its own


def test_front_ends_are_known_by_the_uid_of_their_pod(release: Rendered) -> None:
    for pod in release.processes.values():
        container = _container(pod)
        variables = {item["name"]: item for item in container["env"]}
        assert ("PARLEY_EDGE_UID" in variables) is ("frontend" in pod.services)
        if "frontend" in pod.services:
            assert variables["PARLEY_EDGE_UID"]["value"] == "$(POD_UID)"
            assert variables["POD_UID"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.uid"


def test_pods_are_spread_over_nodes_and_zones(release: Rendered) -> None:
    for pod in release.processes.values():
        (nodes,) = pod.spec["topologySpreadConstraints"]
        (zones,) = pod.spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert nodes["topologyKey"] == "kubernetes.io/hostname"
        assert zones["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
        for each in (nodes, zones["podAffinityTerm"]):
            assert release.selected(each["labelSelector"]["matchLabels"]) == [pod]


def test_what_may_be_away_agrees_with_how_many_there_are(release: Rendered) -> None:
    scalers = {
        item["spec"]["scaleTargetRef"]["name"]: item["spec"] for item in release.of("HorizontalPodAutoscaler").values()
    }
    budgets = release.of("PodDisruptionBudget")
    for pod in release.processes.values():
        name = pod.owner["metadata"]["name"]
        scaler = scalers.get(name)
        replicas = pod.owner["spec"].get("replicas")
        assert (replicas is None) is (scaler is not None), name  # an upgrade must not undo what the autoscaler did
        fewest = scaler["minReplicas"] if scaler is not None else replicas
        assert (name in budgets) is (fewest > 1), name
        if name in budgets:
            assert budgets[name]["spec"]["maxUnavailable"] == 1
            assert release.selected(budgets[name]["spec"]["selector"]["matchLabels"]) == [pod]
        if scaler is not None:
            assert scaler["maxReplicas"] >= scaler["minReplicas"]
            assert scaler["metrics"]
            down = scaler["behavior"]["scaleDown"]
            assert down["stabilizationWindowSeconds"] >= 300
            assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
            cpu = [metric for metric in scaler["metrics"] if metric["type"] == "Resource"]
            assert not cpu or "cpu" in _container(pod)["resources"]["requests"]
    assert set(scalers) <= {pod.owner["metadata"]["name"] for pod in release.processes.values()}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_images_are_named_with_a_tag_or_digest(release: Rendered, kind: str) -> None:
    for item in release.of(kind).values():
        for container in item["spec"]["template"]["spec"]["containers"]:
            name = container["image"].rpartition("/")[2]
            assert ":" in name or "@" in name, container["image"]
            assert not name.endswith(":latest")


def test_an_upgrade_of_parley_starts_no_engine_anew() -> None:
    def engines(tag: str) -> list[Pod]:
        release = render_with(f'image.tag="{tag}"', values="embedded-kafka-and-jaeger")
        return [pod for pod in release.pods if pod.component in ("valkey", "kafka", "jaeger")]

    before, after = engines("1.0.0"), engines("2.0.0")
    assert len(before) == 3
    assert [(pod.metadata, pod.spec) for pod in before] == [(pod.metadata, pod.spec) for pod in after]
    assert not any("app.kubernetes.io/version" in pod.labels for pod in before)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        (
            "values",
            [],
            [
                "--sip=HOST:5060",
                "--sip-tcp=HOST:5060",
                "--sips=HOST:5061",
                "--tls-name=example.test",
                "--https=WEB:8443",
                "--https-name=example.test",
            ],
        ),
        (
            "node-port",
            [],
            [
                "--sip=HOST:5060",
                "--sip-tcp=HOST:5060",
                "--sips=HOST:5061",
                "--tls-name=sip.example.com",
                "--https=WEB:8443",
                "--https-name=sip.example.com",
            ],
        ),
        ("least", ["jobs.test.enabled=true"], ["--sip=HOST:5060", "--sip-tcp=HOST:5060", "--skip=sign in over TLS"]),
    ],
)
def test_the_test_of_an_installation_uses_what_it_has(name: str, settings: list[str], expected: list[str]) -> None:
    release = render_with(*settings, values=name)
    (pod,) = (pod for pod in release.pods if pod.component == "selftest")
    host = next(service for service in release.of("Service") if service.endswith("-sip")) + f".{NAMESPACE}.svc.cluster.local"
    web = host.replace("-sip.", "-https.")
    arguments = [argument.replace(host, "HOST").replace(web, "WEB") for argument in pod.containers[0]["args"]]
    assert arguments[0] == "selftest"
    assert sorted(
        argument for argument in arguments if argument.startswith(("--sip", "--tls", "--https", "--skip"))
    ) == sorted(expected)
    ports = {port["name"]: port["port"] for port in release.of("Service")[host.split(".")[0]]["spec"]["ports"]}
    assert ports["sip-udp"] == 5060
