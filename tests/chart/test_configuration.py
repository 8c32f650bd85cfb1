"""The parley.yaml and variables of every process are what Parley itself accepts, and say what the values say."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml

from parley.platform.config import PlatformConfig, Settings
from parley.platform.events.topics import partitions_by_name
from parley.platform.installed import load_settings
from services.addressbook.config import AddressBookConfig
from services.avedge.config import AvEdgeConfig
from services.frontend.config import FrontendConfig
from services.presence.config import PresenceConfig
from services.web.config import WebConfig
from tests.chart.rendering import Pod, Rendered, render_with, rendered

FIELDS = {
    "metadata.name": "parley-frontend-abc", "metadata.uid": "0b9a", "status.podIP": "10.1.2.3", "spec.nodeName": "n1",
    "status.hostIP": "192.0.2.7", "status.hostIPs": "192.0.2.7,2001:db8::7",
}  # fmt: skip
"""What the kubelet says of a pod."""


def _variables(pod: Pod) -> dict[str, str]:
    """The environment of the container as the kubelet fills it in."""
    known: dict[str, str] = {}
    for item in pod.spec["containers"][0]["env"]:
        value = item["value"] if "value" in item else FIELDS[item["valueFrom"]["fieldRef"]["fieldPath"]]
        for name, text in known.items():
            value = value.replace(f"$({name})", text)
        assert "$(" not in value, item
        known[item["name"]] = value
    return known


def test_processes_are_reached_by_addresses_of_both_families(
    values: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = rendered(values)
    monkeypatch.setitem(FIELDS, "status.podIP", "fd00::7")
    for pod in release.processes.values():
        platform = load(release, pod, tmp_path / pod.component).section("platform", PlatformConfig)
        for name, number, _ in pod.ports():
            if name == "rpc":
                assert platform.rpc.advertise == f"[fd00::7]:{number}"


def load(release: Rendered, pod: Pod, folder: Path) -> Settings:
    """The settings of a pod, with its secrets in a folder."""
    volume = next(volume for volume in pod.spec["volumes"] if volume["name"] == "secrets")
    for source in volume["projected"]["sources"]:
        for item in source["secret"]["items"]:
            path = folder / "secrets" / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(secrets.token_hex(32))
    path = folder / "parley.yaml"
    path.write_text(release.configuration(pod).replace("/etc/parley/secrets", str(folder / "secrets")))
    return load_settings(path, _variables(pod) | {"PARLEY_CONFIG": str(path)})


def section(name: str, process: str, section: str, model: type[Any], folder: Path) -> Any:
    """A section of a process of a release."""
    release = rendered(name)
    return load(release, release.processes[process], folder).section(section, model)


def test_parley_accepts_what_every_pod_is_given(release: Rendered, tmp_path: Path) -> None:
    looked_at = 0
    for pod in release.pods:
        if any(volume["name"] == "secrets" for volume in pod.spec.get("volumes", ())):
            load(release, pod, tmp_path / pod.component)
            looked_at += 1
    assert looked_at >= len(release.processes) + (1 if "init-storage" in {pod.component for pod in release.pods} else 0)


def test_files_that_are_named_are_mounted(release: Rendered, tmp_path: Path) -> None:
    for pod in release.processes.values():
        load(release, pod, tmp_path / pod.component)
        text = release.configuration(pod)
        for line in text.splitlines():
            if "/etc/parley/secrets/" in line:
                file = line.split("/etc/parley/secrets/")[1].strip("\"' ")
                assert (tmp_path / pod.component / "secrets" / file).is_file(), f"{pod.name}: {file}"


def test_pods_listen_where_their_ports_say(release: Rendered, tmp_path: Path) -> None:
    for pod in release.processes.values():
        settings = load(release, pod, tmp_path / pod.component)
        platform = settings.section("platform", PlatformConfig)
        ports = {name: number for name, number, _ in pod.ports()}
        assert platform.metrics_port == ports["metrics"]
        if "rpc" in ports:
            assert platform.rpc.listen[0].endswith(f":{ports['rpc']}")
            assert platform.rpc.advertise == f"10.1.2.3:{ports['rpc']}"
        else:
            assert not platform.rpc.listen
        expected: dict[str, int] = {}
        if "frontend" in pod.services:
            config = settings.section("frontend", FrontendConfig)
            expected |= {f"sip-{name}": port for name, port in config.ports.model_dump().items() if port > 0}
        if "avedge" in pod.services:
            edge = settings.section("avedge", AvEdgeConfig).ports.model_dump()
            expected |= {f"turn-{name}": port for name, port in edge.items() if port > 0 and name != "discovery"}
        if "web" in pod.services:
            expected["https"] = settings.section("web", WebConfig).port
        assert {name: port for name, port in ports.items() if name not in ("rpc", "metrics", "health")} == expected


def test_clients_are_told_the_ports_of_the_nodes(tmp_path: Path) -> None:
    config: FrontendConfig = section("node-port", "frontend", "frontend", FrontendConfig, tmp_path)
    assert config.advertise == "sip.example.com"
    assert config.advertise_ports == {"udp": 30560, "tcp": 30561, "tls": 30562, "ws": 30566, "wss": 30743}
    assert config.ports.udp == 5060
    edge: AvEdgeConfig = section("node-port", "avedge", "avedge", AvEdgeConfig, tmp_path / "edge")
    assert (edge.ports.udp, edge.ports.tls) == (30478, 30350)
    assert edge.host_name == "sip.example.com"
    assert edge.advertised.node_addresses == "192.0.2.7,2001:db8::7"
    web: WebConfig = section("node-port", "web", "web", WebConfig, tmp_path / "web")
    assert (web.port, web.url) == (8443, "https://sip.example.com:30843")


def test_without_a_name_clients_are_told_the_address_of_the_node(tmp_path: Path) -> None:
    config: FrontendConfig = section("together-on-the-node", "edge", "frontend", FrontendConfig, tmp_path)
    assert config.advertise == "192.0.2.7"
    assert config.server_name == "example.test"  # the same at every front end
    edge: AvEdgeConfig = section("together-on-the-node", "edge", "avedge", AvEdgeConfig, tmp_path / "edge")
    assert edge.host_name == "192.0.2.7"
    assert edge.advertised.node_addresses == "192.0.2.7,2001:db8::7"


def test_inside_the_cluster_clients_are_told_a_name_of_it(tmp_path: Path) -> None:
    config: FrontendConfig = section("values", "frontend", "frontend", FrontendConfig, tmp_path)
    assert config.advertise == "parley-sip.voice.svc.cluster.local"
    edge: AvEdgeConfig = section("values", "avedge", "avedge", AvEdgeConfig, tmp_path / "edge")
    assert not edge.advertised.node_addresses  # relay ports are at the pod


def test_a_relay_behind_a_balancer_knows_its_address(tmp_path: Path) -> None:
    edge: AvEdgeConfig = section("metallb", "avedge", "avedge", AvEdgeConfig, tmp_path)
    assert edge.advertised.hosts == ["192.0.2.12"]
    relay = rendered("metallb").of("Service")["parley-turn-relay"]["spec"]
    assert [port["port"] for port in relay["ports"]] == list(range(edge.relay.first, edge.relay.last + 1))


def test_https_has_the_address_that_clients_use(tmp_path: Path) -> None:
    web: WebConfig = section("cloud-load-balancer", "web", "web", WebConfig, tmp_path)
    assert (web.port, web.url) == (8443, "https://web.example.com:443")
    front: FrontendConfig = section("cloud-load-balancer", "frontend", "frontend", FrontendConfig, tmp_path / "front")
    assert front.certificate_url == "https://web.example.com:443/CertProv/CertProvisioningService.svc"


def test_https_knows_administrators_and_ways_to_sign_in(tmp_path: Path) -> None:
    web: WebConfig = section("everything-given", "web", "web", WebConfig, tmp_path)
    assert web.administrators == ["sip:alice@example.com"]
    assert web.kerberos.keytab is not None
    assert web.kerberos.keytab.is_file()
    assert (web.scim.scope, len(web.scim.token.get_secret_value())) == ("provision", 64)
    first, second = web.oidc
    assert (first.issuer, first.audience) == ("https://login.example.com/realm", "parley")
    assert first.ca is not None
    assert first.ca.is_file()
    assert (second.jwks_url, second.ca) == ("https://keys.example.com:9443/jwks", None)


def test_the_directory_knows_its_servers(tmp_path: Path) -> None:
    config: AddressBookConfig = section("everything-given", "addressbook", "addressbook", AddressBookConfig, tmp_path)
    corp, staff = config.directory.ldap["corp"], config.directory.ldap["staff"]
    assert (corp.url, corp.interval) == ("ldaps://dc.example.com", 120)
    assert len(corp.read_password()) == 64
    assert corp.ca_file is not None
    assert corp.ca_file.is_file()
    assert (staff.kind, staff.bind_dn, staff.attributes) == ("openldap", "", {"displayName": "cn"})


def test_the_store_and_the_events_are_those_of_the_values(tmp_path: Path) -> None:
    platform: PlatformConfig = section("everything-given", "presence", "platform", PlatformConfig, tmp_path)
    assert platform.redis.url == "rediss://redis.example.com:6380/2"
    assert platform.redis.cluster
    assert platform.redis.username == "parley"
    assert platform.redis.password.get_secret_value()
    assert platform.redis.tls is not None
    assert platform.redis.tls.server_name == "redis.example.com"
    assert platform.redis.tls.ca is not None
    assert platform.redis.tls.certificate is not None
    events = platform.events
    assert (events.driver, events.replication) == ("kafka", 3)
    assert events.kafka_servers == ["kafka-0.example.com:9093", "kafka-1.example.com:9093"]
    assert events.kafka_tls is not None
    assert events.kafka_tls.ca is not None
    assert (events.kafka_username, events.kafka_mechanism) == ("parley", "SCRAM-SHA-512")
    assert platform.trace_ratio == 0.25
    assert platform.otlp_endpoint == "http://collector.observability:4317"


def test_sentinels_have_a_password_of_their_own(tmp_path: Path) -> None:
    platform: PlatformConfig = section("ipv6", "presence", "platform", PlatformConfig, tmp_path)
    assert platform.redis.sentinels == ["s0.example.com:26379", "s1.example.com:26379"]
    assert platform.redis.sentinel_password.get_secret_value()
    assert not platform.redis.url


def test_kafka_of_strimzi_wants_a_certificate(tmp_path: Path) -> None:
    platform: PlatformConfig = section("values-ha", "presence", "platform", PlatformConfig, tmp_path)
    assert platform.events.kafka_servers == ["parley-kafka-kafka-bootstrap.voice.svc.cluster.local:9093"]
    assert platform.events.kafka_tls is not None
    assert platform.events.kafka_tls.certificate is not None


def test_topics_of_strimzi_are_those_of_parley() -> None:
    topics = rendered("values-ha").of("KafkaTopic").values()
    assert {item["spec"]["topicName"]: item["spec"]["partitions"] for item in topics} == partitions_by_name(16)
    assert {item["spec"]["replicas"] for item in topics} == {3}


def test_clients_are_not_sent_to_services_that_are_not_there(tmp_path: Path) -> None:
    release = render_with("services.conference.enabled=false", "services.immcu.enabled=false")
    config = load(release, release.processes["presence"], tmp_path).section("presence", PresenceConfig)
    assert "focusFactoryUri" not in config.settings_of("sip:alice@example.test").get("ServerConfiguration", {})


def test_sections_of_the_values_are_laid_over_the_computed_ones(tmp_path: Path) -> None:
    release = render_with(
        'config.frontend={"limits": {"connections": 7}, "domains": ["other.example"]}',
        'config.platform={"log": {"level": "DEBUG"}, "events": {"retention": 500}}',
    )
    settings = load(release, release.processes["frontend"], tmp_path)
    frontend = settings.section("frontend", FrontendConfig)
    assert (frontend.limits.connections, frontend.domains) == (7, ["other.example"])
    assert frontend.advertise == "parley-sip.voice.svc.cluster.local"
    platform = settings.section("platform", PlatformConfig)
    assert (platform.log.level, platform.log.format, platform.events.retention) == ("DEBUG", "json", 500)


def test_a_process_is_made_anew_when_its_own_section_changes() -> None:
    def checksums(*settings: str) -> dict[str, str]:
        return {
            name: pod.metadata["annotations"]["checksum/config"] for name, pod in render_with(*settings).processes.items()
        }

    before, after = checksums(), checksums('config.web={"ticket_hours": 2}')
    assert [name for name in before if before[name] != after[name]] == ["web"]


@pytest.mark.parametrize("process", ["edge", "core"])
def test_services_of_one_process_need_no_address_of_each_other(process: str) -> None:
    release = rendered("values-small")
    pod = release.processes[process]
    targets = yaml.safe_load(release.configuration(pod))["platform"]["rpc"]["targets"]
    expected = {
        "edge": {"addressbook", "registrar", "presence", "messaging", "conference", "immcu", "search"},
        "core": {"avedge"},
    }
    assert set(targets) == expected[process]
    assert pod.containers[0]["args"] == ["run", "--services", ",".join(pod.services)]
