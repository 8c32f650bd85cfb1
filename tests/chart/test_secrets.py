"""Secrets are files and nothing else, and each that a pod wants is there."""

from __future__ import annotations

import base64
import json

import yaml

from tests.chart.rendering import VALUES, Rendered, render_with, rendered

GIVEN = (
    "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e7c0de",
    "01d5ec2e701d5ec2e701d5ec2e701d5ec2e701d5ec2e701d5ec2e701d5ec2e70",
    "hush",
)
"""What secrets of the variants have in them."""
THERE = {
    "values-ha": {"parley-keys": {"master-key"}, "parley-redis": {"password"}},
    "everything-given": {
        "my-user-ca": {"tls.crt", "tls.key"},
        "my-keytab": {"keytab"},
        "my-web-keytab": {"http.keytab"},
        "my-provider-ca": {"ca.crt"},
        "my-ldap-password": {"bind"},
        "my-ldap-ca": {"ca.crt"},
        "my-tls": {"tls.crt", "tls.key", "ca.crt"},
        "my-internal-tls": {"tls.crt", "tls.key", "ca.crt"},
        "my-redis-client": {"tls.crt", "tls.key"},
        "my-kafka-ca": {"authority.pem"},
    },
    "embedded-kafka-and-jaeger": {"my-demo": {"password"}},
}
"""Secrets that the values say are there, and their keys."""


def _provided(release: Rendered, name: str) -> dict[str, set[str]]:
    """Secrets that are there by the time that pods start, with the keys that they have."""
    provided = {secret: set(item["data"]) for secret, item in release.of("Secret").items()}
    provided |= THERE.get(name, {})
    for item in release.of("Certificate").values():
        spec = item["spec"]
        has_ca = spec["issuerRef"]["name"] != "letsencrypt" or name == "ipv6"
        provided[spec["secretName"]] = {"tls.crt", "tls.key"} | ({"ca.crt"} if has_ca else set())
    for kafka in release.of("Kafka"):
        provided[f"{kafka}-cluster-ca-cert"] = {"ca.crt"}
    for user in release.of("KafkaUser"):
        provided[user] = {"user.crt", "user.key"}
    return provided | _made(release)


def _made(release: Rendered) -> dict[str, set[str]]:
    """What `parley init secrets` makes, as its arguments say."""
    keys = {
        "master-key": {"master-key"}, "valkey": {"password"}, "internal-tls": {"tls.crt", "tls.key", "ca.crt"},
        "client-tls": {"tls.crt", "tls.key", "ca.crt"}, "user-ca": {"tls.crt", "tls.key"},
    }  # fmt: skip
    for pod in release.pods:
        if pod.component == "init-secrets":
            options = dict(
                item.removeprefix("--").split("=", 1) for item in pod.containers[0]["args"][2:] if "name=" not in item
            )
            return {f"{options['prefix']}-{kind}": keys[kind] for kind in options["make"].split(",")}
    return {}


def test_every_secret_that_is_mounted_is_there_with_its_keys(release: Rendered, values: str) -> None:
    provided = _provided(release, values)
    for pod in release.pods:
        for volume in pod.spec.get("volumes", ()):
            sources = [source["secret"] for source in volume.get("projected", {}).get("sources", ())]
            if "secret" in volume:
                sources.append({"name": volume["secret"]["secretName"], "items": volume["secret"]["items"]})
            for source in sources:
                assert source["name"] in provided, f"{pod.name}: {source['name']}"
                assert {item["key"] for item in source["items"]} <= provided[source["name"]], source["name"]


def test_every_secret_that_is_made_or_given_is_used(release: Rendered, values: str) -> None:
    text = release.text
    for name in [*_made(release), *release.of("Secret")]:
        assert text.count(f"name: {name}\n") + text.count(f"secretName: {name}\n") >= 1, name


def test_secrets_are_in_secrets_alone(release: Rendered) -> None:
    for item in release.objects:
        text = json.dumps(item)
        if item["kind"] == "Secret":
            continue
        for secret in GIVEN:
            assert secret not in text, f"{item['kind']} {item['metadata']['name']}"
            assert base64.b64encode(secret.encode()).decode().rstrip("=")[:-1] not in text


def test_no_variable_comes_from_a_secret(release: Rendered) -> None:
    for pod in release.pods:
        for container in pod.containers:
            assert not container.get("envFrom"), pod.name
            assert not any("secretKeyRef" in item.get("valueFrom", {}) for item in container.get("env", ())), pod.name


def test_a_given_value_is_what_the_secret_holds() -> None:
    secrets = rendered("everything-given").of("Secret")
    values = yaml.safe_load(VALUES["everything-given"].read_text())
    for name, key, value in (
        ("parley-given-redis", "password", values["redis"]["external"]["password"]["value"]),
        ("parley-given-master-key", "master-key", values["masterKey"]["value"]),
        ("parley-given-turn", "secret", values["exposure"]["turn"]["sharedSecret"]["value"]),
        ("parley-given-scim", "token", values["web"]["scim"]["token"]["value"]),
    ):
        assert base64.b64decode(secrets[name]["data"][key]).decode() == value


def test_an_existing_secret_is_read_at_its_own_key() -> None:
    release = render_with('masterKey={"existingSecret": "vault", "key": "root"}')
    for pod in release.processes.values():
        sources = next(volume for volume in pod.spec["volumes"] if volume["name"] == "secrets")["projected"]["sources"]
        mine = [source["secret"] for source in sources if source["secret"]["name"] == "vault"]
        assert mine == [{"name": "vault", "items": [{"key": "root", "path": "master-key/master-key"}]}]


def test_a_secret_is_given_to_those_alone_who_need_it() -> None:
    release = rendered("everything-given")
    owners: dict[str, set[str]] = {}
    for pod in release.processes.values():
        for source in next(volume for volume in pod.spec["volumes"] if volume["name"] == "secrets")["projected"]["sources"]:
            owners.setdefault(source["secret"]["name"], set()).add(pod.component)
    assert owners["my-user-ca"] == {"addressbook"}
    assert owners["parley-given-previous-master-key"] == {"addressbook"}
    assert owners["parley-given-demo"] == {"addressbook"}
    assert owners["my-keytab"] == {"frontend"}
    for name in ("my-web-keytab", "my-provider-ca", "parley-given-scim"):
        assert owners[name] == {"web"}
    for name in ("my-ldap-password", "my-ldap-ca"):
        assert owners[name] == {"addressbook"}
    assert owners["parley-given-peer-ca"] == {"frontend"}
    assert owners["parley-given-turn"] == {"avedge"}
    assert owners["my-tls"] == {"frontend", "web", "avedge"}
    assert owners["parley-given-master-key"] == set(release.processes)


def test_another_value_makes_those_pods_anew_that_have_it() -> None:
    def checksums(secret: str) -> dict[str, str]:
        release = render_with(f'exposure.turn.sharedSecret.value="{secret}"')
        return {name: pod.metadata["annotations"]["checksum/secrets"] for name, pod in release.processes.items()}

    before, after = checksums("one"), checksums("another")
    assert [name for name in before if before[name] != after[name]] == ["avedge"]


def test_the_job_makes_what_nobody_gave_and_no_more() -> None:
    assert {name.removeprefix("parley-") for name in _made(rendered("values"))} == {
        "master-key", "valkey", "internal-tls", "client-tls", "user-ca",
    }  # fmt: skip
    assert {name.removeprefix("parley-") for name in _made(rendered("values-ha"))} == {"user-ca"}
    assert not _made(rendered("everything-given"))


def test_the_job_is_a_hook_before_everything_with_all_that_it_needs() -> None:
    release = rendered("values")
    hooked = [item for item in release.objects if item["metadata"].get("annotations", {}).get("helm.sh/hook") != "test"]
    hooked = [item for item in hooked if "helm.sh/hook" in item["metadata"].get("annotations", {})]
    assert sorted(item["kind"] for item in hooked) == ["Job", "NetworkPolicy", "Role", "RoleBinding", "ServiceAccount"]
    for item in hooked:
        annotations = item["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert annotations["helm.sh/hook-weight"] == ("-5" if item["kind"] == "Job" else "-10")
    assert not any(
        "configMap" in volume for pod in release.pods if pod.component == "init-secrets" for volume in pod.spec["volumes"]
    )


def test_the_certificate_for_clients_has_the_names_that_they_use() -> None:
    release = render_with(
        'publicName="sip.example.com"', 'exposure.turn.publicName="turn.example.com"', 'domains=["example.com"]'
    )
    job = next(pod for pod in release.pods if pod.component == "init-secrets")
    names = {item.removeprefix("--name=") for item in job.containers[0]["args"] if item.startswith("--name=")}
    assert {"sip.example.com", "turn.example.com", "example.com", "parley-sip.voice.svc.cluster.local"} <= names


def test_addresses_in_a_certificate_of_cert_manager_are_no_names() -> None:
    spec = rendered("ipv6").of("Certificate")["parley-client-tls"]["spec"]
    assert spec["dnsNames"] == ["sip.example.com", "example.test", "phones.example.com"]
    assert spec["ipAddresses"] == ["2001:db8::5", "192.0.2.5"]
    assert "ipAddresses" not in rendered("values-ha").of("Certificate")["parley-client-tls"]["spec"]


def test_the_password_of_the_store_is_a_file_in_memory() -> None:
    release = rendered("together-on-the-node")
    pod = next(pod for pod in release.pods if pod.component == "valkey")
    assert pod.containers[0]["command"] == ["sh", "/etc/valkey/start.sh"]
    assert "requirepass" not in release.of("ConfigMap")["parley-valkey"]["data"]["valkey.conf"]
    run = next(volume for volume in pod.spec["volumes"] if volume["name"] == "run")
    assert run["emptyDir"]["medium"] == "Memory"
