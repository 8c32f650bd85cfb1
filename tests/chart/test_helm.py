"""The chart as others see it: both versions of helm, the schemas of Kubernetes, checkov, who reads the notes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    CACHE,
    CHART,
    KUBERNETES,
    NAMESPACE,
    RELEASE,
    ROOT,
    VALUES,
    Rendered,
    helm,
    render_with,
    rendered,
)

SCHEMAS = ROOT / "tests" / "chart" / "schemas"
NOTES = """extraObjects=["{apiVersion: v1, kind: ConfigMap, metadata: {name: notes},
 data: {text: {{ include \\"parley/templates/NOTES.txt\\" . | toJson }}}}"]""".replace("\n", "")
"""Has helm render the notes as an object, as `helm template` does not show them."""


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600)


def _notes(name: str | None = None, *settings: str) -> str:
    release = render_with(*settings, NOTES, values=name)
    return str(release.of("ConfigMap")["notes"]["data"]["text"])


def test_notes_say_where_to_administer() -> None:
    assert "Administer:           https://sip.example.com:443/admin as alice@example.com" in _notes("everything-given")
    assert "Administer" not in _notes()
    assert "https://NAME:8443/admin as a@b" in _notes(None, 'web.administrators=["a@b"]')


@pytest.mark.parametrize("transports", [{"wss"}, {"ws", "wss"}, {"udp", "wss"}, {"tcp"}, {"tls"}])
def test_there_is_a_pod_that_tests_where_a_phone_can_sign_in(transports: set[str]) -> None:
    off = {"udp", "tcp", "tls", "ws", "wss"} - transports
    settings = [f"exposure.sip.ports.{name}.enabled=false" for name in sorted(off)]
    release = render_with(*settings, NOTES)
    expected = bool(transports & {"udp", "tcp", "tls"})
    assert ("parley-selftest" in release.of("Pod")) is expected
    assert ("parley-selftest" in release.of("NetworkPolicy")) is expected
    assert ("helm -n" in release.of("ConfigMap")["notes"]["data"]["text"]) is expected


def test_both_versions_of_helm_make_the_same(values: str) -> None:
    third, fourth = rendered(values, 3), rendered(values, 4)

    def key(item: dict[str, Any]) -> tuple[str, str]:
        return item["kind"], item["metadata"]["name"]

    assert sorted(third.objects, key=key) == sorted(fourth.objects, key=key)


@pytest.mark.parametrize("major", [3, 4])
def test_helm_has_nothing_to_say_against_it(major: int) -> None:
    values = [f"--values={path}" for path in VALUES.values() if path.name in ("values.yaml", "values-ha.yaml")]
    result = _run(helm(major), "lint", "--strict", "--quiet", CHART, "--kube-version", KUBERNETES, *values)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stdout


def test_names_are_had_once(release: Rendered) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in release.objects]
    assert len(names) == len(set(names))


def test_long_names_of_releases_make_names_that_are_allowed() -> None:
    release = render_with(f'fullnameOverride="{"long" * 20}"', 'events={"driver": "kafka", "kafka": {"mode": "strimzi"}}')
    for item in release.objects:
        longest = 253 if item["kind"].startswith("Kafka") else 63
        assert len(item["metadata"]["name"]) <= longest, item["metadata"]["name"]


def test_the_job_of_the_storage_is_another_one_at_every_revision() -> None:
    job = rendered("values").of("Job")["parley-init-storage-1"]  # a Job cannot be changed
    assert "helm.sh/hook" not in job["metadata"].get("annotations", {})  # as a hook it would run before the store is there
    assert job["spec"]["ttlSecondsAfterFinished"] == 600
    text = (CHART / "templates" / "jobs.yaml").read_text()
    assert ".Release.Revision" in text


def test_kubernetes_accepts_what_is_rendered(tmp_path: Path) -> None:
    program = next(iter(sorted(CACHE.glob("kubeconform-*/kubeconform"))), None)
    schemas = CACHE / f"kubernetes-schemas-{KUBERNETES}"
    if program is None or not schemas.is_dir():
        pytest.skip(
            "kubeconform or the schemas of Kubernetes are missing: run tools/install-helm.sh, install-kubernetes-schemas.sh"
        )
    for name in VALUES:
        (tmp_path / f"{name}.yaml").write_text(rendered(name).text)
    result = _run(
        program, "-strict", "-summary", "-output=json",
        f"-schema-location={schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        f"-schema-location={SCHEMAS}/{{{{.ResourceKind}}}}.json", tmp_path,
    )  # fmt: skip
    report = json.loads(result.stdout)
    assert not report.get("resources"), report["resources"]
    assert report["summary"]["valid"] == sum(len(rendered(name).objects) for name in VALUES)
    assert report["summary"]["skipped"] == 0


def test_checkov_finds_nothing_that_has_no_reason(tmp_path: Path) -> None:
    program = next(iter(sorted(CACHE.glob("checkov-*/venv/bin/checkov"))), None)
    if program is None:
        pytest.skip("checkov is missing: run tools/install-checkov.sh")
    objects = {json.dumps(item, sort_keys=True) for name in VALUES for item in rendered(name).objects}
    (tmp_path / "all.yaml").write_text("\n---\n".join(sorted(objects)))
    result = _run(
        program, "--directory", tmp_path, "--framework", "kubernetes", "--compact", "--quiet", "--skip-download",
        "--output", "json",
    )  # fmt: skip
    report = json.loads(result.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 1000
    exceptions = yaml.safe_load((ROOT / "tests" / "chart" / "checkov-exceptions.yaml").read_text())
    used = set()
    for finding in report["results"]["failed_checks"]:
        resource = finding["resource"].replace(f".{NAMESPACE}.", ".")
        allowed = exceptions.get(finding["check_id"], {"where": []})
        assert any(resource.startswith(beginning) for beginning in allowed["where"]), f"{finding['check_name']}: {resource}"
        used.add(finding["check_id"])
    assert used == set(exceptions), "an exception that nothing needs"


def test_the_schema_and_the_page_of_values_are_what_the_values_say() -> None:
    result = _run(sys.executable, ROOT / "tools" / "write_values_reference.py", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_objects_that_may_hold_anything_take_unknown_keys() -> None:
    def open_objects(schema: Any, path: str) -> list[str]:
        found = []
        if isinstance(schema, dict):
            if schema.get("type") == "object" and "additionalProperties" not in schema and "items" not in path:
                found.append(path)
            for name, inner in schema.items():
                found += open_objects(inner, f"{path}.{name}")
        return found

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert open_objects(schema, "") == [".properties.global"]


def test_notes_name_the_ports_and_the_first_user() -> None:
    text = _notes("cloud-load-balancer")
    assert "parley user add alice@example.com" in text
    for line in ("5061/tcp  sip-tls", "443/tcp  https", "3478/udp  turn-udp", "49152-65535/udp  relay"):
        assert line in text
    assert "_sips._tcp.example.com  SRV 0 0 5061 sip.example.com." in text
    assert "_turn._udp.example.com  SRV 0 0 3478 turn.example.com." in text
    assert f"helm -n {NAMESPACE} test {RELEASE}" in text


def test_notes_of_node_ports_name_what_clients_use() -> None:
    text = _notes("node-port")
    assert "30562/tcp  sip-tls" in text
    assert "_sips._tcp.example.com  SRV 0 0 30562 sip.example.com." in text


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("values", [], "Clients see a certificate of a development CA"),
        ("values", [], "The SIP domain is example.test, which nobody has"),
        ("values", [], "Relay addresses are those of pods, which are private"),
        ("values", [], "One pod alone of"),
        ("values", [], "The store is one Valkey: back up its volume (claim data-parley-valkey-0)"),
        ("together-on-the-node", [], "The store is one Valkey: back up its volume (claim my-claim)"),
        ("embedded-kafka-and-jaeger", [], "The store has no volume"),
        ("embedded-kafka-and-jaeger", [], "Kafka is one broker without a volume"),
        ("embedded-kafka-and-jaeger", [], "Demo users alice, bob and carol can sign in"),
        ("together-on-the-node", [], "clients are told the address of the node that a pod is on"),
        ("together-on-the-node", [], "not allowed in a namespace that enforces the restricted pod security standard"),
        ("together-on-the-node", [], "until networkPolicy.nodeCidrs names those"),
        ("values", ['exposure.type="LoadBalancer"'], "clients outside are told names that they cannot resolve"),
        ("everything-given", [], "exposure.sip has 6 balancers with an address each, but clients are told one name for all"),
        ("least", [], "There are no NetworkPolicies"),
        ("host-network", ["exposure.turn.ports.https.enabled=true"], "turn-https is port 443 of the node"),
        ("embedded-kafka-and-jaeger", ['tracing.endpoint="http://c:4317"'], "the bundled Jaeger gets none"),
    ],
)
def test_notes_warn_of_what_is_not_for_everybody(name: str, settings: list[str], sentence: str) -> None:
    assert sentence in _notes(name, *settings)


def test_notes_of_an_installation_that_lacks_nothing_warn_of_nothing() -> None:
    text = _notes(
        "everything-given", "demo.enabled=false", 'exposure.turn.type="HostNetwork"', "exposure.sip.oneService=true",
        "exposure.turn.ports.https.enabled=false", 'networkPolicy.nodeCidrs=["192.0.2.0/24"]',
    )  # fmt: skip
    warnings = re.findall(r"^- .*", text, re.MULTILINE)
    assert [line for line in warnings if "restricted pod security standard" not in line] == []
