"""What the compiler of NetworkPolicies opens and shuts, tried on a model of the rules it writes."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.network import network_missing
from tools.cluster import netpol
from tools.cluster.netpol import Pod, pods_of, ruleset, selects

NAMESPACES = {"shop": {"team": "sales"}, "lab": {"team": "science"}}
WEB = Pod("shop", {"app": "web"}, "10.244.1.2", {("http", "tcp"): 8080})
NEW_WEB = Pod("shop", {"app": "web", "track": "canary"}, "10.244.2.2", {("http", "tcp"): 9090})
CLIENT = Pod("shop", {"app": "client"}, "10.244.1.3", {})
LAB = Pod("lab", {"app": "client"}, "10.244.2.3", {})
PODS = [WEB, NEW_WEB, CLIENT, LAB]


def policy(selector: dict[str, Any] | None = None, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "p"}, "spec": {"podSelector": selector or {}, **spec}}


class Rules:
    """Reads a ruleset and decides on packets, as nftables does."""

    def __init__(self, *policies: dict[str, Any], pods: list[Pod] = PODS) -> None:
        self.text = ruleset(pods, NAMESPACES, policies)
        body = self.text.partition("{")[2]
        self._chains = {
            name: [line.strip() for line in lines.splitlines() if line.strip()]
            for name, lines in re.findall(r"  chain (\w+) \{\n(.*?)  \}", body, re.DOTALL)
        }

    def passes(self, source: str, destination: str, protocol: str = "tcp", port: int = 8080, hook: str = "forward") -> bool:
        packet = {"saddr": source, "daddr": destination, "protocol": protocol, "port": port}
        for rule in self._chains[hook]:
            found = re.fullmatch(r"(.*)jump (\w+)", rule)
            if found and self._fits(found[1], packet):
                chain = self._chains[found[2]]
                assert chain[-1] == "drop"
                if not any(self._fits(inner.removesuffix("return"), packet) for inner in chain[:-1]):
                    return False
        return True

    @staticmethod
    def _fits(words: str, packet: dict[str, Any]) -> bool:
        rest = words
        for field, no, networks in re.findall(r"ip (\w+) (!= )?\{ ([^}]*) \}", words):
            inside = any(
                ipaddress.ip_address(packet[field]) in ipaddress.ip_network(one.strip()) for one in networks.split(",")
            )
            if inside == bool(no):
                return False
        rest = re.sub(r"ip \w+ (!= )?\{ [^}]* \} ?", "", rest).strip()
        if not rest:
            return True
        if found := re.fullmatch(r"meta l4proto (\w+)", rest):
            return bool(found[1] == packet["protocol"])
        found = re.fullmatch(r"(\w+) dport (\d+)(?:-(\d+))?", rest)
        assert found, f"no such rule: {words}"
        return bool(found[1] == packet["protocol"] and int(found[2]) <= packet["port"] <= int(found[3] or found[2]))


def test_without_policies_everything_passes() -> None:
    assert Rules().passes(CLIENT.address, WEB.address)
    assert Rules().passes("203.0.113.9", WEB.address, "udp", 53)


def test_a_policy_with_no_rules_shuts_the_pods_it_selects_and_no_others() -> None:
    rules = Rules(policy({"matchLabels": {"app": "web"}}))
    assert not rules.passes(CLIENT.address, WEB.address)
    assert not rules.passes("10.98.0.1", NEW_WEB.address)
    assert rules.passes(WEB.address, CLIENT.address)
    assert rules.passes(CLIENT.address, LAB.address)


def test_a_rule_with_nothing_in_it_opens_everything() -> None:
    assert Rules(policy(ingress=[{}])).passes("203.0.113.9", WEB.address, "udp", 53)


def test_policies_add_up() -> None:
    from_client = policy(ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}])
    rules = Rules(policy(), from_client)
    assert rules.passes(CLIENT.address, WEB.address)
    assert not rules.passes(LAB.address, WEB.address), "a pod selector alone means the policy's own namespace"


def test_a_namespace_selector_and_a_pod_selector_in_one_peer_both_have_to_fit() -> None:
    science = {"namespaceSelector": {"matchLabels": {"team": "science"}}}
    both = Rules(policy(ingress=[{"from": [{**science, "podSelector": {"matchLabels": {"app": "web"}}}]}]))
    assert not both.passes(LAB.address, WEB.address)
    either = Rules(policy(ingress=[{"from": [science, {"podSelector": {"matchLabels": {"app": "web"}}}]}]))
    assert either.passes(LAB.address, WEB.address)
    assert either.passes(NEW_WEB.address, WEB.address)
    assert not either.passes(CLIENT.address, WEB.address)


def test_peers_that_select_no_pod_open_nothing() -> None:
    rules = Rules(policy(ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}]))
    assert not any(rules.passes(pod.address, WEB.address) for pod in PODS)


def test_an_empty_namespace_selector_means_pods_of_all_namespaces_but_not_outside() -> None:
    rules = Rules(policy(ingress=[{"from": [{"namespaceSelector": {}}]}]))
    assert rules.passes(LAB.address, WEB.address)
    assert not rules.passes("203.0.113.9", WEB.address)


def test_ports_are_opened_by_number_by_range_and_by_protocol() -> None:
    ports = [
        {"port": 5060, "protocol": "UDP"},
        {"port": 49152, "endPort": 49160, "protocol": "UDP"},
        {"port": 80},
        {"protocol": "SCTP"},
    ]
    rules = Rules(policy(ingress=[{"ports": ports}]))
    assert rules.passes(CLIENT.address, WEB.address, "udp", 5060)
    assert not rules.passes(CLIENT.address, WEB.address, "tcp", 5060)
    assert rules.passes(CLIENT.address, WEB.address, "udp", 49160)
    assert not rules.passes(CLIENT.address, WEB.address, "udp", 49161)
    assert rules.passes(CLIENT.address, WEB.address, "tcp", 80)
    assert rules.passes(CLIENT.address, WEB.address, "sctp", 1)


def test_a_named_port_is_the_number_of_each_pod_that_is_reached() -> None:
    rules = Rules(policy({"matchLabels": {"app": "web"}}, ingress=[{"ports": [{"port": "http"}]}]))
    assert rules.passes(CLIENT.address, WEB.address, port=8080)
    assert rules.passes(CLIENT.address, NEW_WEB.address, port=9090)
    assert not rules.passes(CLIENT.address, NEW_WEB.address, port=8080)
    assert not rules.passes(CLIENT.address, WEB.address, "udp", 8080)


def test_a_named_port_outward_is_the_number_of_the_pod_reached() -> None:
    opened = [{"ports": [{"port": "http"}]}]
    rules = Rules(policy({"matchLabels": {"app": "client"}}, policyTypes=["Egress"], egress=opened))
    assert rules.passes(CLIENT.address, NEW_WEB.address, port=9090)
    assert not rules.passes(CLIENT.address, NEW_WEB.address, port=8080)
    assert not rules.passes(CLIENT.address, "203.0.113.9", port=8080), "what has no pod has no names for ports"


def test_a_named_port_outward_heeds_the_exceptions_of_a_block() -> None:
    block = {"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"]}}
    rules = Rules(policy(policyTypes=["Egress"], egress=[{"to": [block], "ports": [{"port": "http"}]}]))
    assert rules.passes(CLIENT.address, WEB.address, port=8080)
    assert not rules.passes(CLIENT.address, NEW_WEB.address, port=9090)


def test_blocks_of_addresses_have_exceptions() -> None:
    block = {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.168.0.0/16"]}
    rules = Rules(policy(ingress=[{"from": [{"ipBlock": block}]}]))
    assert rules.passes("203.0.113.9", WEB.address)
    assert not rules.passes(CLIENT.address, WEB.address)
    assert not rules.passes("192.168.7.7", WEB.address)


def test_a_block_of_ipv6_opens_nothing_and_breaks_nothing() -> None:
    rules = Rules(policy(ingress=[{"from": [{"ipBlock": {"cidr": "::/0"}}]}]))
    assert not rules.passes("203.0.113.9", WEB.address)


def test_egress_is_shut_only_when_the_policy_is_about_it() -> None:
    assert Rules(policy()).passes(CLIENT.address, "203.0.113.9")
    assert not Rules(policy(policyTypes=["Egress"])).passes(CLIENT.address, "203.0.113.9")
    assert not Rules(policy(egress=[])).passes(CLIENT.address, "203.0.113.9"), "egress rules imply that type"


def test_both_ends_have_to_agree() -> None:
    out = policy({"matchLabels": {"app": "client"}}, policyTypes=["Egress"], egress=[{}])
    shut = policy({"matchLabels": {"app": "web"}})
    assert not Rules(out, shut).passes(CLIENT.address, WEB.address)
    assert Rules(out).passes(CLIENT.address, WEB.address)


def test_a_node_reaches_its_pods_and_is_reached_only_where_egress_allows() -> None:
    rules = Rules(policy(policyTypes=["Ingress", "Egress"]))
    assert not rules.passes(CLIENT.address, "10.98.0.11", hook="input")
    assert "hook output" not in rules.text, "what the node itself sends (probes) is not looked at"


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "app", "operator": "In", "values": ["web", "api"]}, True),
        ({"key": "app", "operator": "In", "values": ["api"]}, False),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["web"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "tier", "operator": "Exists"}, False),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "tier", "operator": "DoesNotExist"}, True),
    ],
)
def test_label_expressions(expression: dict[str, Any], fits: bool) -> None:
    assert selects({"matchExpressions": [expression]}, {"app": "web"}) is fits


def listed(**changes: Any) -> dict[str, Any]:
    container = {"name": "c", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"containerPort": 1}]}
    return {
        "metadata": {"namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [container], **changes.pop("spec", {})},
        "status": {"podIP": "10.244.1.9", "phase": "Running", **changes},
    }


def test_pods_are_read_as_the_api_lists_them() -> None:
    assert pods_of([listed()]) == [Pod("shop", {"app": "web"}, "10.244.1.9", {("dns", "udp"): 53})]


@pytest.mark.parametrize(
    "changes",
    [{"podIP": ""}, {"phase": "Succeeded"}, {"phase": "Failed"}, {"spec": {"hostNetwork": True}}, {"podIP": "fd00::9"}],
)
def test_pods_without_an_address_of_their_own_are_left_out(changes: dict[str, Any]) -> None:
    assert pods_of([listed(**changes)]) == []


PEER = st.one_of(
    st.builds(lambda name: {"podSelector": {"matchLabels": {"app": name}}}, st.sampled_from(["web", "client", "nobody"])),
    st.just({"namespaceSelector": {}}),
    st.just({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.1.0/24"]}}),
    st.just({"ipBlock": {"cidr": "::/0"}}),
)
PORT = st.sampled_from(
    [
        {"port": "http"},
        {"port": 53, "protocol": "UDP"},
        {"port": 1, "endPort": 9},
        {"port": 7, "endPort": 7},
        {"protocol": "SCTP"},
    ]
)
RULE = st.builds(lambda peers, ports: {"from": peers, "to": peers, "ports": ports}, st.lists(PEER), st.lists(PORT))
POLICY = st.builds(
    lambda selector, types, rules: policy(selector, policyTypes=types, ingress=rules, egress=rules),
    st.sampled_from([{}, {"matchLabels": {"app": "web"}}]),
    st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
    st.lists(RULE, max_size=3),
)


@settings(max_examples=40)
@given(st.lists(POLICY, max_size=4))
def test_a_policy_more_never_shuts_what_the_policies_of_those_pods_open(policies: list[dict[str, Any]]) -> None:
    shut = [policy(policyTypes=["Ingress", "Egress"])]
    fewer, more = Rules(*shut, *policies[:-1]), Rules(*shut, *policies)
    for source in PODS:
        for destination in PODS:
            for port in (8080, 5):
                if fewer.passes(source.address, destination.address, port=port):
                    assert more.passes(source.address, destination.address, port=port)


def test_nftables_takes_every_kind_of_rule() -> None:
    if network_missing():
        pytest.skip(str(network_missing()))
    peers = [
        {"podSelector": {}},
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
        {"ipBlock": {"cidr": "::/0"}},
    ]
    ports = [{"port": "http"}, {"port": 1, "endPort": 9}, {"protocol": "SCTP"}, {"port": 53, "protocol": "UDP"}]
    rules = [{"from": peers, "to": peers, "ports": ports}, {"from": peers, "to": peers}, {}]
    text = ruleset(PODS, NAMESPACES, [policy(policyTypes=["Ingress", "Egress"], ingress=rules, egress=rules)])
    unshare = shutil.which("unshare")
    assert unshare, "util-linux is part of every Debian"
    loaded = subprocess.run(
        [unshare, "--net", "sh", "-c", f"nft -f - && nft list table ip {netpol.TABLE}"],
        input=text + text,  # the second time it replaces the first
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.count("drop") == 2
