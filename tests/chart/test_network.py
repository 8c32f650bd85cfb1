"""Services reach the pods they are for, and policies let through what has to get through and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.chart.policies import OUTSIDE, Policies
from tests.chart.rendering import VALUES, Pod, Rendered, render_with, rendered

ENFORCED = [name for name in VALUES if name != "least"]
CALLS = {
    "frontend": {"frontend", "registrar", "addressbook", "presence", "messaging", "conference", "immcu", "avedge"},
    "web": {"frontend", "registrar", "addressbook", "presence", "avedge"},
    "presence": {"frontend", "registrar", "addressbook"},
    "messaging": {"frontend", "registrar", "addressbook", "presence"},
    "conference": {"frontend", "registrar"},
    "immcu": {"frontend", "registrar", "conference"},
}
"""Who calls whom; test_calls.py holds it against the code."""


@pytest.fixture(params=ENFORCED)
def enforced(request: pytest.FixtureRequest) -> Rendered:
    """Releases with policies."""
    return rendered(request.param)


def _calls(caller: Pod, called: Pod) -> bool:
    return any(CALLS.get(service, set()) & set(called.services) for service in caller.services)


def _port(pod: Pod, name: str) -> int:
    """A port of a pod by name; gRPC's usual one where nobody calls the pod, which has none then."""
    return next((number for own, number, _ in pod.ports() if own == name), 9090)


def test_every_service_has_pods_and_every_target_port_exists(release: Rendered) -> None:
    for name, service in release.of("Service").items():
        pods = release.selected(service["spec"]["selector"])
        assert pods, name
        for port in service["spec"]["ports"]:
            for pod in pods:
                ports = {own: (number, protocol) for own, number, protocol in pod.ports()}
                target = port["targetPort"]
                if isinstance(target, int):
                    assert "-turn-relay" in name  # a range, which no pod lists
                else:
                    assert target in ports, f"{name} {target} {pod.name}"
                    assert ports[target][1] == port["protocol"]


def test_every_port_of_a_pod_is_in_a_service_and_in_a_policy(enforced: Rendered) -> None:
    policies = Policies(enforced)
    for pod in enforced.pods:
        offered = {
            port["targetPort"]
            for service in enforced.of("Service").values()
            if pod in enforced.selected(service["spec"]["selector"])
            for port in service["spec"]["ports"]
        }
        for name, number, protocol in pod.ports():
            assert name in offered, f"{pod.name} {name}"
            assert policies.accepts(pod, protocol, number), f"{pod.name} {name}"


def test_a_service_has_one_protocol_where_clients_come_from_outside(release: Rendered) -> None:
    for name, service in release.of("Service").items():
        spec = service["spec"]
        protocols = {port["protocol"] for port in spec["ports"]}
        if spec["type"] != "ClusterIP":
            assert len(protocols) == 1 or name.endswith("-all"), name
            assert spec["externalTrafficPolicy"] == "Local", name
        if "UDP" in protocols and not name.endswith("-turn-relay"):
            assert spec["sessionAffinity"] == "ClientIP", name


def test_grpc_has_headless_services_of_pods_that_are_ready(release: Rendered) -> None:
    found = {name: item["spec"] for name, item in release.of("Service").items() if name.endswith("-rpc")}
    running = {service for pod in release.processes.values() for service in pod.services}
    assert len(found) == len(running & set().union(*CALLS.values()))
    for spec in found.values():
        assert spec["clusterIP"] == "None"
        assert not spec.get("publishNotReadyAddresses")


def test_targets_are_services_that_are_there(release: Rendered) -> None:
    services = release.of("Service")
    for pod in [
        *release.processes.values(),
        *(pod for pod in release.pods if pod.component in ("init-storage", "selftest")),
    ]:
        targets = yaml.safe_load(release.configuration(pod))["platform"]["rpc"].get("targets", {})
        assert not set(targets) & set(pod.services)  # those are here
        for target in targets.values():
            host, port = target.removeprefix("dns:///").rsplit(":", 1)
            service = services[host.split(".")[0]]["spec"]
            assert int(port) == service["ports"][0]["port"]
            for called in release.selected(service["selector"]):
                assert _port(called, "rpc") == int(port)


def test_every_service_that_is_called_has_an_address(release: Rendered) -> None:
    running = {service for pod in release.processes.values() for service in pod.services}
    for pod in release.processes.values():
        targets = set(yaml.safe_load(release.configuration(pod))["platform"]["rpc"]["targets"])
        for service in pod.services:
            # front ends are called by the address in their lease
            assert (CALLS.get(service, set()) & running) - {"frontend"} - set(pod.services) <= targets


def test_everything_is_refused_that_is_not_allowed(enforced: Rendered) -> None:
    policies = Policies(enforced)
    for pod in enforced.pods:
        assert policies.isolates(pod, "ingress"), pod.name
        assert policies.isolates(pod, "egress"), pod.name


def test_services_reach_those_that_they_call_and_no_others(enforced: Rendered) -> None:
    policies = Policies(enforced)
    for caller in enforced.processes.values():
        for called in enforced.processes.values():
            allowed = policies.allows(_seen_as(caller), _seen_as(called), "TCP", _port(called, "rpc"))
            apart = caller.spec.get("hostNetwork") or called.spec.get("hostNetwork")
            if _calls(caller, called):
                assert allowed, f"{caller.component} to {called.component}"
            elif not apart:
                assert not allowed, f"{caller.component} to {called.component}"


def _seen_as(pod: Pod) -> Pod | str:
    """Pods with the network of their node are known by an address."""
    return OUTSIDE if pod.spec.get("hostNetwork") else pod


def test_the_engines_are_reached_by_parley_and_by_nobody_else(enforced: Rendered) -> None:
    policies = Policies(enforced)
    engines = {pod.component: pod for pod in enforced.pods if pod.component in ("valkey", "kafka")}
    for name, port in (("valkey", 6379), ("kafka", 9092)):
        engine = engines.get(name)
        if engine is None:
            continue
        for pod in enforced.pods:
            wanted = pod.is_process or pod.component in ("init-storage", "selftest")
            if not pod.spec.get("hostNetwork"):
                assert policies.allows(pod, engine, "TCP", port) is wanted, f"{pod.name} to {name}"
        if not any(pod.spec.get("hostNetwork") for pod in enforced.pods):
            assert not policies.allows(OUTSIDE, engine, "TCP", port)
        assert not policies.allows(engine, OUTSIDE, "TCP", 443)


def test_clients_reach_the_ports_for_clients_alone(enforced: Rendered) -> None:
    policies = Policies(enforced)
    for pod in enforced.processes.values():
        for name, number, protocol in pod.ports():
            for_clients = name.startswith(("sip-", "turn-", "https"))
            if for_clients or name == "health":
                assert policies.allows(OUTSIDE, pod, protocol, number), f"{pod.name} {name}"
            elif name == "metrics":
                assert not policies.allows(OUTSIDE, pod, protocol, number), f"{pod.name} {name}"


def test_the_relay_is_reached_by_peers_and_reaches_them(enforced: Rendered) -> None:
    policies = Policies(enforced)
    for pod in enforced.processes.values():
        if "avedge" in pod.services:
            relay = yaml.safe_load(enforced.configuration(pod))["avedge"]["relay"]
            for port in (relay["first"], relay["last"]):
                assert policies.allows(OUTSIDE, pod, "UDP", port)
            assert policies.allows(pod, OUTSIDE, "UDP", 40_000)


@pytest.mark.parametrize("layout", ["separate", "together"])
@pytest.mark.parametrize("clients", ["0.0.0.0/0", "198.51.100.0/24"])
def test_who_is_no_client_and_comes_by_their_ports_gets_in(layout: str, clients: str) -> None:
    release = render_with(f'layout="{layout}"', f'networkPolicy.clientCidrs=["{clients}"]')
    policies = Policies(release)
    tester = next(pod for pod in release.pods if pod.component == "selftest")
    for pod in release.processes.values():
        for name, number, protocol in pod.ports():
            if name.startswith(("sip-", "turn-", "https")):
                assert policies.allows(tester, pod, protocol, number), f"{pod.name} {name}"
        if "avedge" in pod.services:
            relay = yaml.safe_load(release.configuration(pod))["avedge"]["relay"]
            for protocol in ("UDP", "TCP"):
                for port in (relay["first"], relay["last"]):
                    assert policies.allows(pod, pod, protocol, port)  # stands for two pods of the same kind
            store = next(pod for pod in release.pods if pod.component == "valkey")
            assert not policies.allows(store, pod, "UDP", relay["first"])


def test_only_who_deals_with_clients_reaches_anybody(enforced: Rendered) -> None:
    policies = Policies(enforced)
    for pod in enforced.processes.values():
        deals = bool({"frontend", "avedge"} & set(pod.services))
        assert policies.allows(pod, OUTSIDE, "UDP", 5060) is deals, pod.name


def test_names_are_resolved_by_the_cluster(enforced: Rendered) -> None:
    for item in enforced.of("NetworkPolicy").values():
        rules = item["spec"].get("egress", ())
        if rules and item["metadata"]["name"].split("-")[-1] not in ("deny",):
            dns = [rule for rule in rules if {"protocol": "UDP", "port": 53} in rule.get("ports", ())]
            assert any("namespaceSelector" in peer for peer in dns[0]["to"])


def test_metrics_are_read_from_the_namespaces_that_are_named() -> None:
    policy = rendered("values").of("NetworkPolicy")["parley-frontend"]["spec"]
    peers = [rule["from"] for rule in policy["ingress"] if rule["ports"] == [{"protocol": "TCP", "port": 9464}]]
    expression: dict[str, Any] = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring"]}
    assert peers == [[{"namespaceSelector": {"matchExpressions": [expression]}}]]


@pytest.mark.parametrize(
    ("process", "network", "ports"),
    [("web", "198.18.1.0/24", {443, 8444, 9443}), ("addressbook", "198.18.2.0/24", {636, 1389, 3269})],
)
def test_providers_and_directory_servers_are_reached_by_who_asks_them(process: str, network: str, ports: set[int]) -> None:
    policies = rendered("everything-given").of("NetworkPolicy")
    peers = [{"ipBlock": {"cidr": network}}]
    for name, policy in policies.items():
        rules = [rule for rule in policy["spec"].get("egress", ()) if rule.get("to") == peers]
        assert len(rules) == (1 if name == f"parley-{process}" else 0), name
        for rule in rules:
            assert {port["port"] for port in rule["ports"]} == ports


def test_an_external_store_is_reached_at_its_addresses_alone() -> None:
    release = rendered("everything-given")
    policy = release.of("NetworkPolicy")["parley-registrar"]["spec"]
    ports = {
        tuple(port["port"] for port in rule["ports"]): [peer["ipBlock"]["cidr"] for peer in rule.get("to", ())]
        for rule in policy["egress"]
        if "ports" in rule and all(port["protocol"] == "TCP" for port in rule["ports"])
    }
    assert ports[(6380, 6381)] == ["203.0.113.0/24"]
    assert ports[(9093,)] == []
    assert ports[(4317,)] == []


def test_ports_of_the_node_are_had_once() -> None:
    for name in VALUES:
        taken = [
            port["nodePort"]
            for service in rendered(name).of("Service").values()
            for port in service["spec"]["ports"]
            if "nodePort" in port
        ]
        assert len(taken) == len(set(taken)), name


def test_pods_with_the_network_of_the_node_do_not_get_in_each_others_way() -> None:
    for name in VALUES:
        taken: dict[tuple[int, str], str] = {}
        for pod in rendered(name).processes.values():
            if pod.spec.get("hostNetwork"):
                for _, number, protocol in pod.ports():
                    assert taken.setdefault((number, protocol), pod.name) == pod.name


def test_routes_of_a_gateway_lead_to_services_and_tls_is_passed_on_by_name() -> None:
    release = rendered("gateway-api")
    listeners = {item["name"]: item for item in release.of("Gateway")["parley"]["spec"]["listeners"]}
    routes = {
        name: (item, item["kind"])
        for kind in ("TCPRoute", "UDPRoute", "TLSRoute")
        for name, item in release.of(kind).items()
    }
    kinds = {name: kind for name, (_, kind) in routes.items()}
    assert kinds == {
        "parley-sip-udp": "UDPRoute", "parley-sip-tcp": "TCPRoute", "parley-sip-tls": "TCPRoute",
        "parley-sip-ws": "TCPRoute",
        "parley-sip-wss": "TLSRoute", "parley-https": "TLSRoute",
    }  # fmt: skip
    for route, kind in routes.values():
        parent, backend = route["spec"]["parentRefs"][0], route["spec"]["rules"][0]["backendRefs"][0]
        listener = listeners.pop(parent["sectionName"])
        assert listener["allowedRoutes"]["kinds"] == [{"kind": kind}]
        assert listener.get("tls") == ({"mode": "Passthrough"} if kind == "TLSRoute" else None)
        service = release.of("Service")[backend["name"]]["spec"]
        assert service["type"] == "ClusterIP"
        assert backend["port"] in [port["port"] for port in service["ports"]]
    assert not listeners
    assert routes["parley-https"][0]["spec"]["hostnames"] == ["web.example.com"]


def test_one_balancer_has_every_port_where_that_is_asked_for() -> None:
    services = rendered("cloud-load-balancer").of("Service")
    ports = {(port["port"], port["protocol"]) for port in services["parley-sip-all"]["spec"]["ports"]}
    assert ports == {(5060, "UDP"), (5060, "TCP"), (5061, "TCP"), (5066, "TCP"), (7443, "TCP")}
    assert services["parley-sip-all"]["spec"]["sessionAffinity"] == "ClientIP"
    assert not [name for name in services if name.startswith(("parley-sip-udp", "parley-sip-tcp", "parley-sip-tls"))]
