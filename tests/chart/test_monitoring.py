"""How Prometheus finds the processes: objects of its operator, and what they choose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import VALUES, Rendered, RenderError, render_with

KINDS = {"serviceMonitor": "ServiceMonitor", "podMonitor": "PodMonitor"}


def _object(release: Rendered, kind: str) -> dict[str, Any]:
    (made,) = release.of(KINDS[kind]).values()
    return made


def _endpoint(made: dict[str, Any]) -> dict[str, Any]:
    (endpoint,) = made["spec"].get("endpoints") or made["spec"]["podMetricsEndpoints"]
    result: dict[str, Any] = endpoint
    return result


def test_without_being_asked_nothing_needs_the_operator() -> None:
    assert not [item for item in render_with().objects if item["apiVersion"].startswith("monitoring.coreos.com")]


@pytest.mark.parametrize("values", VALUES)
def test_a_service_monitor_finds_every_process_once(values: str) -> None:
    release = render_with('monitoring.scrape.kind="serviceMonitor"', values=values)
    made = _object(release, "serviceMonitor")
    selector = made["spec"]["selector"]["matchLabels"]
    (service,) = [
        each for each in release.of("Service").values() if selector.items() <= each["metadata"]["labels"].items()
    ]  # fmt: skip
    assert service["metadata"]["namespace"] == made["metadata"]["namespace"]
    (port,) = [each for each in service["spec"]["ports"] if each["name"] == _endpoint(made)["port"]]
    chosen = release.selected(service["spec"]["selector"])
    assert {pod.name for pod in chosen} == {pod.name for pod in release.processes.values()}
    for pod in chosen:
        assert [name for name, _, protocol in pod.ports() if name == port["targetPort"] and protocol == "TCP"], pod.name


@pytest.mark.parametrize("values", VALUES)
def test_a_pod_monitor_finds_every_process_once(values: str) -> None:
    release = render_with('monitoring.scrape.kind="podMonitor"', values=values)
    made = _object(release, "podMonitor")
    chosen = release.selected(made["spec"]["selector"]["matchLabels"])
    assert {pod.name for pod in chosen} == {pod.name for pod in release.processes.values()}
    for pod in chosen:
        assert [name for name, _, _ in pod.ports()].count(_endpoint(made)["port"]) == 1, pod.name


@pytest.mark.parametrize("kind", KINDS)
def test_targets_have_the_labels_that_rules_and_dashboards_go_by(kind: str) -> None:
    endpoint = _endpoint(_object(render_with(f'monitoring.scrape.kind="{kind}"'), kind))
    set_by = {each["targetLabel"]: each for each in endpoint["relabelings"] if "targetLabel" in each}
    assert set_by["job"]["replacement"] == "parley"
    assert set_by["release"]["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"]
    assert set_by["component"]["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
    dropped = next(each["regex"] for each in endpoint["relabelings"] if each.get("action") == "labeldrop")
    assert "service" in dropped.split("|"), "metrics of outboxes have a label `service` of their own"


@pytest.mark.parametrize("kind", KINDS)
def test_labels_interval_and_relabelings_are_the_operators(kind: str) -> None:
    release = render_with(
        f'monitoring.scrape.kind="{kind}"', 'monitoring.scrape.labels={"prometheus": "main"}',
        'monitoring.scrape.interval="15s"', 'monitoring.scrape.relabelings=[{"targetLabel": "zone", "replacement": "a"}]',
        'monitoring.scrape.metricRelabelings=[{"action": "drop", "sourceLabels": ["__name__"], "regex": "python_.*"}]',
    )  # fmt: skip
    made = _object(release, kind)
    assert made["metadata"]["labels"]["prometheus"] == "main"
    endpoint = _endpoint(made)
    assert endpoint["interval"] == "15s"
    assert endpoint["relabelings"][-1] == {"targetLabel": "zone", "replacement": "a"}
    assert endpoint["metricRelabelings"][0]["regex"] == "python_.*"


def test_prometheus_is_let_in_where_policies_are_on() -> None:
    release = render_with('networkPolicy.monitoringNamespaces=["prometheus"]')
    for pod in release.processes.values():
        (metrics,) = [number for name, number, _ in pod.ports() if name == "metrics"]
        policies = [
            policy for policy in release.of("NetworkPolicy").values()
            if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= pod.labels.items()
        ]  # fmt: skip
        rules = [rule for policy in policies for rule in policy["spec"].get("ingress") or ()]
        allowed = [rule for rule in rules if {"protocol": "TCP", "port": metrics} in rule.get("ports", ())]
        assert any("prometheus" in str(rule.get("from")) for rule in allowed), pod.name


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(RenderError, match=r"monitoring.*kind|kind.*must be one of|value must be one of"):
        render_with('monitoring.scrape.kind="both"')
