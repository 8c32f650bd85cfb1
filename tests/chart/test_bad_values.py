"""Values that cannot work are refused before anything is installed, each with a sentence that says what to change."""

from __future__ import annotations

import pytest

from tests.chart.rendering import RenderError, helm, render_with, template

KEY = "a" * 64
CONTRADICTIONS: list[tuple[list[str], str]] = [
    (["services.frontend.enabled=false"], "services.frontend.enabled is false, but nobody can sign in without it"),
    (["services.immcu.enabled=false"], "services.conference and services.immcu go together: enable both or neither"),
    (
        ['layout="together"', 'exposure.turn.type="HostNetwork"'],
        "give exposure.sip.type, exposure.https.type and exposure.turn.type all HostNetwork, or none",
    ),
    (['exposure.type="Gateway"'], "an exposure of type Gateway needs exposure.gateway.name, or exposure.gateway.create"),
    (
        ['exposure.type="Gateway"', "exposure.gateway.create=true"],
        "exposure.gateway.create needs exposure.gateway.className",
    ),
    (
        ['exposure.type="Gateway"', 'exposure.gateway={"name": "outer", "tlsRoutes": true}'],
        "exposure.gateway.tlsRoutes finds the way by the name that clients ask for: set publicName, or exposure.https.",
    ),
    (
        ['exposure.type="Gateway"', 'exposure.gateway={"create": true, "className": "any", "namespace": "edge"}'],
        "routes would look for it in exposure.gateway.namespace: leave that empty",
    ),
    (["exposure.sip.ports.peers.enabled=true"], "needs the CA of trusted servers: set exposure.sip.peers.ca.value"),
    (
        [f"exposure.sip.ports.{name}.enabled=false" for name in ("udp", "tcp", "tls", "ws", "wss")],
        "every port of exposure.sip.ports is off, so no client can sign in",
    ),
    (["exposure.https.ports.https.enabled=false"], "enable it, or set services.web.enabled to false"),
    (
        [f"exposure.turn.ports.{name}.enabled=false" for name in ("udp", "tcp", "dtls", "tls")],
        "enable one, or set services.avedge.enabled to false",
    ),
    (
        ["exposure.turn.ports.dtls.port=3478"],
        "is UDP 3478, and so is exposure.turn.ports.",
    ),
    (
        ['exposure.type="HostNetwork"', "exposure.sip.ports.ws.port=9464"],
        "exposure.sip.ports.ws is TCP 9464, and so is the port for metrics of the same pod: give it another number",
    ),
    (
        ['exposure.type="HostNetwork"', "exposure.https.ports.https.port=7443"],
        "exposure.https.ports.https is TCP 7443, and so is exposure.sip.ports.wss of another pod on the same node",
    ),
    (
        ['exposure.type="HostNetwork"', "exposure.https.ports.https.port=9190"],
        "exposure.https.ports.https is TCP 9190, and so is the port for rpc of another pod on the same node",
    ),
    (
        [
            'exposure.type="Gateway"',
            'exposure.gateway={"create": true, "className": "any"}',
            "exposure.https.ports.https.port=7443",
        ],
        "exposure.https.ports.https is TCP 7443, and so is exposure.sip.ports.wss of the same Gateway: give it another",
    ),
    (
        ['exposure.type="LoadBalancer"', "exposure.sip.ports.ws.port=5060"],
        "exposure.sip.ports.ws is TCP 5060, and so is exposure.sip.ports.tcp of the same Service: give it another number",
    ),
    (
        ['exposure.type="NodePort"', "exposure.https.ports.https.nodePort=30561"],
        "exposure.https.ports.https.nodePort is 30561, and so is exposure.sip.ports.tcp.nodePort: each",
    ),
    (
        ['exposure.type="NodePort"', "exposure.sip.ports.udp.nodePort=5060"],
        "exposure.sip.ports.udp.nodePort is 5060, which is no node port: take one of 30000 to 32767",
    ),
    (['exposure.type="NodePort"', "exposure.sip.ports.udp.nodePort=0"], "exposure.sip.ports.udp.nodePort is not set"),
    (["exposure.turn.relay.first=49153"], "the range begins with an even port and ends with a higher odd one"),
    (['exposure.turn.relay.mode="node"'], "exposure.turn.relay.mode node needs exposure.turn.type HostNetwork"),
    (
        ['exposure.turn.type="HostNetwork"', 'exposure.turn.relay.mode="pod"'],
        "exposure.turn.relay.mode pod contradicts exposure.turn.type HostNetwork",
    ),
    (['exposure.turn.relay.mode="service"'], "mode service needs exposure.turn.type LoadBalancer or NodePort"),
    (
        [
            'exposure.type="NodePort"',
            'exposure.turn.relay={"mode": "service", "first": 32000, "last": 32099}',
            "workload.replicas=2",
        ],
        "one replica of avedge, without autoscaling. HostNetwork is the way for more",
    ),
    (
        ['exposure.type="NodePort"', 'exposure.turn.relay={"mode": "service", "first": 31000, "last": 32001}'],
        "give a range of at most 400 ports in exposure.turn.relay.first and .last",
    ),
    (
        ['exposure.type="NodePort"', 'exposure.turn.relay={"mode": "service", "first": 50000, "last": 50099}'],
        "relay ports are node ports: take exposure.turn.relay.first and .last from 30000 to 32767",
    ),
    (
        ['exposure.type="NodePort"', 'exposure.turn.relay={"mode": "service", "first": 30400, "last": 30499}'],
        "exposure.turn.ports.udp.nodePort is 30478, which is among the relay ports",
    ),
    (
        ['exposure.type="LoadBalancer"', 'exposure.turn.relay={"mode": "service", "first": 50000, "last": 50099}'],
        "the relay has to know the balancer's address: set exposure.turn.advertised",
    ),
    ([f'masterKey={{"value": "{KEY}", "existingSecret": "mine"}}'], "masterKey has a value and an existingSecret"),
    (
        [
            'redis.mode="external"',
            'redis.external={"url": "redis://r:1", "password": {"value": "a", "existingSecret": "b"}}',
        ],
        "redis.external.password has a value and an existingSecret: which of them counts? Give one.",
    ),
    (['masterKey.value="secret"'], "masterKey.value is not 64 hexadecimal digits: make one with `openssl rand -hex 32`"),
    (["demo.enabled=true"], "demo.enabled needs a password for the demo users"),
    (
        ["jobs.secrets.enabled=false"],
        "jobs.secrets.enabled is false, so nobody makes master-key, valkey, internal-tls, client-tls, user-ca",
    ),
    (['tls.mode="certManager"'], "tls.mode certManager needs an issuer: set tls.certManager.issuerRef.name"),
    (['tls.mode="existingSecret"'], "tls.mode existingSecret needs the Secret: set tls.existingSecret.name"),
    (
        ['internalTls.mode="existingSecret"'],
        "internalTls.mode existingSecret needs the Secret: set internalTls.existingSecret",
    ),
    (
        ['tls.certManager.issuerRef.name="mine"'],
        "tls.certManager.issuerRef.name is set, but tls.mode is development, which does not look at it: set tls.mode",
    ),
    (
        ['tls={"mode": "certManager", "certManager": {"issuerRef": {"name": "a"}}, "existingSecret": {"name": "b"}}'],
        "tls.existingSecret.name is set, but tls.mode is certManager, which does not look at it: set tls.mode to existing",
    ),
    (
        ['internalTls.certManager.issuerRef.name="mine"'],
        "internalTls.certManager.issuerRef.name is set, but internalTls.mode is development",
    ),
    (['internalTls.existingSecret="mine"'], "internalTls.existingSecret is set, but internalTls.mode is development"),
    (['redis.mode="external"'], "redis.mode external needs an address: set redis.external.url or redis.external.sentinels"),
    (['redis.external.url="redis://r:1"'], "redis.external has an address, but redis.mode is embedded"),
    (
        ['redis.mode="external"', 'redis.external={"url": "redis://r:1", "sentinels": ["s:2"]}'],
        "redis.external.url and redis.external.sentinels exclude each other",
    ),
    (
        ['redis.mode="external"', 'redis.external={"cluster": true, "sentinels": ["s:2"]}'],
        "redis.external.cluster has no Sentinels",
    ),
    (
        ['redis.mode="external"', 'redis.external.url="redis://:password@redis:6379/0"'],
        "redis.external.url is not of the form redis://host:port/0 or rediss://host:port/0; user and password",
    ),
    (
        ['redis.mode="external"', 'redis.external={"url": "redis://r:1", "username": "parley"}'],
        "redis.external.username needs redis.external.password",
    ),
    (
        ['redis.mode="external"', 'redis.external={"url": "redis://r:1", "tls": {"ca": {"existingSecret": "mine"}}}'],
        "redis.external.tls.ca is set, but redis.external.tls.enabled is false, so there would be no TLS: set it to true",
    ),
    (
        [
            'redis.mode="external"',
            'redis.external={"url": "redis://r:1", "tls": {"clientSecret": "mine", "serverName": "r"}}',
        ],
        "so there would be no TLS: set it to true, or take redis.external.tls.clientSecret and serverName out",
    ),
    (["redis.external.tls.enabled=true"], "redis.external.tls.enabled is true, but redis.mode is embedded"),
    (['events.kafka.mode="strimzi"'], "events.kafka is set up, but events.driver is redis: set events.driver to kafka"),
    (['events.driver="kafka"', 'events.kafka.mode="external"'], "needs brokers: set events.kafka.external.servers"),
    (
        ['events.driver="kafka"', 'events.kafka={"mode": "external", "external": {"servers": ["kafka"]}}'],
        "events.kafka.external.servers: kafka is not of the form host:port",
    ),
    (
        ['events.driver="kafka"', 'events.kafka.external.servers=["kafka:9092"]'],
        "events.kafka.external.servers is set, but events.kafka.mode is embedded: set it to external",
    ),
    (
        [
            'events.driver="kafka"',
            'events.kafka={"mode": "external", "external": {"servers": ["k:1"], "sasl": {"enabled": true}}}',
        ],
        "events.kafka.external.sasl needs username and password",
    ),
    (
        [
            'events.driver="kafka"',
            'events.kafka={"mode": "external", "external": {"servers": ["k:1"], "tls": {"ca": {"value": "PEM"}}}}',
        ],
        "events.kafka.external.tls.ca is set, but events.kafka.external.tls.enabled is false, so there would be no TLS",
    ),
    (
        [
            'events.driver="kafka"',
            'events.kafka={"mode": "external", "external": {"servers": ["k:1"], "sasl": {"username": "parley"}}}',
        ],
        "has a username or a password, but events.kafka.external.sasl.enabled is false, so nobody would sign in",
    ),
    (
        [
            'events.driver="kafka"',
            'events.kafka={"mode": "external", "external": {"servers": ["k:1"], "sasl": {"password": {"value": "x"}}}}',
        ],
        "has a username or a password, but events.kafka.external.sasl.enabled is false, so nobody would sign in",
    ),
    (
        ['events.driver="kafka"', "events.kafka.external.tls.enabled=true"],
        "events.kafka.external.tls.enabled is true, but events.kafka.mode is embedded: set it to external",
    ),
    (
        ["events.kafka.external.sasl.enabled=true"],
        "events.kafka.external.sasl.enabled is true, but events.kafka.mode is embedded: set it to external",
    ),
    (['events.driver="kafka"', "events.replication=3"], "events.replication is 3, but the embedded Kafka is one broker"),
    (
        ['events={"driver": "kafka", "replication": 5, "kafka": {"mode": "strimzi"}}'],
        "events.replication is 5, but there are 3 brokers (events.kafka.strimzi.brokers)",
    ),
    (
        ['services.presence.autoscaling={"enabled": true, "minReplicas": 5, "maxReplicas": 3}'],
        "services.presence.autoscaling: minReplicas 5 is more than maxReplicas 3",
    ),
    (
        ['services.presence.autoscaling={"enabled": true, "cpu": 0}'],
        "services.presence.autoscaling looks at nothing: set cpu, or enable podMetric",
    ),
    (
        ['services.presence.autoscaling={"enabled": true, "podMetric": {"enabled": true}}'],
        "services.presence.autoscaling.podMetric needs the name of a metric",
    ),
    (
        ["services.presence.autoscaling.enabled=true", 'services.presence.resources={"requests": {"cpu": ""}}'],
        "is a share of what pods request: set services.presence.resources.requests.cpu",
    ),
    (
        ['layout="together"', "services.presence.replicas=2"],
        "services.presence asks for more than one pod, but with layout together its process counts",
    ),
    (
        ['config.platform.redis.password="x"'],
        "config.platform.redis.password would put a secret into a ConfigMap: use redis.external.password",
    ),
    (
        ['config.avedge.credentials.shared_secret="x"'],
        "config.avedge.credentials.shared_secret would put a secret into a ConfigMap: use exposure.turn.sharedSecret",
    ),
    (['web.scim.scope="provision"'], "web.scim.scope is of tokens of web.oidc, which names nobody who issues them"),
    (['web.scim.token.value="short"'], "web.scim.token.value has less than 24 characters"),
    (
        ['web.scim.token={"value": "0123456789abcdef01234567", "existingSecret": "mine"}'],
        "web.scim.token has a value and an existingSecret: which of them counts? Give one.",
    ),
    (
        ['config.web.scim.token="x"'],
        "config.web.scim.token would put a secret into a ConfigMap: use web.scim.token",
    ),
    (
        ['config.addressbook.directory.ldap={"corp": {"password": "x"}}'],
        "config.addressbook.directory.ldap would contradict what the chart makes around it: use directory.ldap",
    ),
    (["config.web.oidc=[]"], "config.web.oidc would contradict what the chart makes around it: use web.oidc"),
    (
        ["config.frontend.ports.udp=5070"],
        "config.frontend.ports would contradict what the chart makes around it: use exposure.sip",
    ),
    (['config.platform.bind="::"'], "config.platform.bind would contradict what the chart makes around it: use bind"),
]
TYPING_ERRORS = [
    ("replicaCount=2", "replicaCount"),
    ("services.frontent.replicas=2", "frontent"),
    ("services.frontend.replica=2", "replica"),
    ("services.frontend.resources.request={}", "request"),
    ("exposure.sip.ports.dtls.enabled=true", "dtls"),
    ("exposure.sip.ports.udp.nodeport=30000", "nodeport"),
    ('masterKey.existing="x"', "existing"),
    ("redis.embedded.placement.nodeselector={}", "nodeselector"),
    ("config.frontend.domain=[]", "domain"),
    ('directory.ldap.corp={"url": "ldaps://dc", "base": "DC=a", "password": "x"}', "password"),
    ('directory.ldap.corp={"url": "ldaps://dc", "base": "DC=a", "password_file": "x"}', "password_file"),
    ('directory.ldap.corp={"url": "ldaps://dc", "base": "DC=a", "bindDn": "x"}', "bindDn"),
    ('directory.ldap.Corp={"url": "ldaps://dc", "base": "DC=a"}', "Corp"),
    ('web.oidc=[{"issuer": "https://a", "audience": "b", "ca": "/x"}]', "ca"),
    ("web.kerberos.keytab=1", "keytab"),
    ("config.front={}", "front"),
    ("config.frontend.limits.connection=3", "connection"),
]
WRONG_KINDS = [
    ('layout="both"', "layout"),
    ('services.frontend.replicas="two"', "replicas"),
    ("services.frontend.replicas=-1", "replicas"),
    ('domains="example.com"', "domains"),
    ("domains=[]", "domains"),
    ('exposure.type="Ingress"', "type"),
    ("exposure.sip.ports.udp.port=70000", "port"),
    ("tracing.ratio=2", "ratio"),
    ('workload.drainSeconds="long"', "drainSeconds"),
    ("events.partitions=0", "partitions"),
    ('directory.ldap.corp={"url": "ldaps://dc"}', "base"),
    ('web.oidc=[{"issuer": "https://a"}]', "audience"),
    ("image.pullSecrets=[\"mine\"]", "pullSecrets"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "sentence"), CONTRADICTIONS, ids=[sentence for _, sentence in CONTRADICTIONS])
def test_a_contradiction_is_refused_with_a_sentence(settings: list[str], sentence: str) -> None:
    with pytest.raises(RenderError) as refused:
        render_with(*settings)
    assert "These values cannot work:" in str(refused.value)
    assert sentence in str(refused.value)


def test_a_port_that_is_had_twice_is_told_once() -> None:
    with pytest.raises(RenderError) as refused:
        render_with("exposure.turn.ports.dtls.port=3478")
    assert len([line for line in str(refused.value).splitlines() if line.startswith("- ")]) == 1


def test_pods_on_different_nodes_may_have_the_same_port() -> None:
    release = render_with(
        'exposure.type="HostNetwork"', "exposure.https.ports.https.port=7443",
        'services.web.nodeSelector={"role": "web"}', 'services.frontend.nodeSelector={"role": "sip"}',
    )  # fmt: skip
    ports = {name: {number for _, number, _ in pod.ports()} for name, pod in release.processes.items()}
    assert ports["web"] & ports["frontend"] == {7443}


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(RenderError) as refused:
        render_with('redis.mode="external"', 'tls.mode="certManager"', "services.registrar.enabled=false")
    text = str(refused.value)
    assert [line[:2] for line in text.splitlines() if line.startswith("- ")] == ["- "] * 3


@pytest.mark.parametrize(("setting", "key"), TYPING_ERRORS + WRONG_KINDS)
def test_what_is_not_known_or_of_a_wrong_kind_is_refused(setting: str, key: str) -> None:
    with pytest.raises(RenderError) as refused:
        render_with(setting)
    assert "schema" in str(refused.value)
    assert key in str(refused.value)


def test_helm_4_refuses_the_same() -> None:
    for setting, sentence in (
        ('redis.mode="external"', "redis.mode external needs an address"),
        ("replicaCount=2", "replicaCount"),
    ):
        with pytest.raises(RenderError) as refused:
            render_with(setting, major=4)
        assert sentence in str(refused.value)


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(RenderError, match=r">=1\.30\.0-0"):
        template(helm(3), kubernetes="1.29.0")
