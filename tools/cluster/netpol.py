"""NetworkPolicy as rules of nftables: a function from pods, namespaces and policies to the table that enforces them.

It covers networking.k8s.io/v1: selectors by labels and expressions, ipBlock with except, ports by number, by name and as a
range, TCP, UDP and SCTP, and that a pod which some policy selects is shut but for what policies open. The same table serves
every node: packets to and from pods are looked at where they are forwarded, after a Service's address became a pod's.

As with other implementations, connections that are open go on, a node reaches the pods on it (the kubelet's probes), pods of
the node's own network are only matched by ipBlock, and answers need no rule. IPv4 only: a block of IPv6 matches nothing.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

TABLE: Final = "parley_network_policy"
Resource = Mapping[str, Any]
Direction = Literal["ingress", "egress"]
_TYPES: Final[dict[Direction, str]] = {"ingress": "Ingress", "egress": "Egress"}
_PEERS: Final[dict[Direction, str]] = {"ingress": "from", "egress": "to"}
_OWN: Final[dict[Direction, str]] = {"ingress": "daddr", "egress": "saddr"}
"""Which address of a packet is that of the pod the policy is for."""
_OTHER: Final[dict[Direction, str]] = {"ingress": "saddr", "egress": "daddr"}


@dataclass(frozen=True)
class Pod:
    """What policies look at of a pod."""

    namespace: str
    labels: Mapping[str, str]
    address: str
    ports: Mapping[tuple[str, str], int]
    """Numbers of named ports, by name and protocol in small letters."""


@dataclass(frozen=True)
class Block:
    """Addresses that a peer stands for; every address when both are empty."""

    addresses: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()

    def match(self, field: str) -> str:
        """The words of a rule."""
        words = f"ip {field} {_set(self.addresses)} " if self.addresses else ""
        return words + (f"ip {field} != {_set(self.excepted)} " if self.excepted else "")


def pods_of(resources: Iterable[Resource]) -> list[Pod]:
    """The pods that have an address of their own, as the API lists them."""
    found = []
    for resource in resources:
        status, spec = resource["status"], resource["spec"]
        address = status.get("podIP", "")
        if not address or ":" in address or spec.get("hostNetwork") or status.get("phase") not in ("Pending", "Running"):
            continue
        ports = {
            (port["name"], port.get("protocol", "TCP").lower()): port["containerPort"]
            for container in [*spec["containers"], *spec.get("initContainers", ())]
            for port in container.get("ports") or ()
            if port.get("name")
        }
        metadata = resource["metadata"]
        found.append(Pod(metadata["namespace"], metadata.get("labels") or {}, address, ports))
    return found


def selects(selector: Resource, labels: Mapping[str, str]) -> bool:
    """Whether a label selector fits; an empty one fits everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_fits(expression, labels) for expression in selector.get("matchExpressions") or ())


def ruleset(pods: list[Pod], namespaces: Mapping[str, Mapping[str, str]], policies: Iterable[Resource]) -> str:
    """The table, as ``nft -f`` reads it: it replaces the one before in one step. ``namespaces`` has their labels."""
    rules: dict[Direction, set[str]] = {"ingress": set(), "egress": set()}
    shut: dict[Direction, set[str]] = {"ingress": set(), "egress": set()}
    for policy in policies:
        compiler = _Policy(policy, pods, namespaces)
        for direction in compiler.directions:
            shut[direction] |= {pod.address for pod in compiler.selected}
            rules[direction] |= set(compiler.rules(direction))
    lines = [f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    for direction, opened in rules.items():
        lines += [f"  chain {direction} {{", *(f"    {rule}" for rule in sorted(opened)), "    drop", "  }"]
    # Before the filter of others; what comes back from a chain goes on to it.
    leaves, arrives = _jump("egress", shut["egress"]), _jump("ingress", shut["ingress"])
    lines += _hook("forward", leaves + arrives) + _hook("input", leaves) + ["}"]
    return "\n".join(lines) + "\n"


class _Policy:
    """One policy, and the pods it is for."""

    def __init__(self, policy: Resource, pods: list[Pod], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self._spec = policy["spec"]
        self._namespace = policy["metadata"]["namespace"]
        self._pods = pods
        self._namespaces = namespaces
        selector = self._spec.get("podSelector") or {}
        self.selected = [pod for pod in pods if pod.namespace == self._namespace and selects(selector, pod.labels)]

    @property
    def directions(self) -> list[Direction]:
        """Which way it shuts its pods."""
        types = self._spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in self._spec else [])]
        return [direction for direction, name in _TYPES.items() if name in types]

    def rules(self, direction: Direction) -> Iterator[str]:
        """What it opens."""
        if not self.selected:
            return
        for rule in self._spec.get(direction) or ():
            for block in self._blocks(rule.get(_PEERS[direction])):
                yield from self._openings(direction, block, rule.get("ports") or ())

    def _openings(self, direction: Direction, block: Block, ports: Iterable[Resource]) -> Iterator[str]:
        own = tuple(pod.address for pod in self.selected)
        numbers = [port for port in ports if not isinstance(port.get("port"), str)]
        names = [port for port in ports if isinstance(port.get("port"), str)]
        begin = f"ip {_OWN[direction]} {_set(own)} {block.match(_OTHER[direction])}"
        if not numbers and not names:
            yield f"{begin}return"
        for port in numbers:
            yield f"{begin}{_port(port)}return"
        for port in names:  # the number is that of the pod which the packet goes to
            key = (port["port"], port.get("protocol", "TCP").lower())
            targets = self.selected if direction == "ingress" else [pod for pod in self._pods if _inside(pod, block)]
            for number, addresses in _by_number(key, targets).items():
                there = f"{key[1]} dport {number} return"
                if direction == "ingress":
                    yield f"ip daddr {_set(addresses)} {block.match('saddr')}{there}"
                else:
                    yield f"ip saddr {_set(own)} ip daddr {_set(addresses)} {there}"

    def _blocks(self, peers: Iterable[Resource] | None) -> Iterator[Block]:
        """Nothing for peers that are nobody."""
        if not peers:
            yield Block()
            return
        for peer in peers:
            if "ipBlock" in peer:
                yield from _ip_block(peer["ipBlock"])
            elif addresses := tuple(pod.address for pod in self._pods if self._is_peer(peer, pod)):
                yield Block(addresses)

    def _is_peer(self, peer: Resource, pod: Pod) -> bool:
        selector = peer.get("namespaceSelector")
        if selector is None:
            near = pod.namespace == self._namespace
        else:
            near = pod.namespace in self._namespaces and selects(selector, self._namespaces[pod.namespace])
        return near and selects(peer.get("podSelector") or {}, pod.labels)


def _fits(expression: Resource, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    exists: bool = operator == "Exists"
    return (key in labels) == exists


def _ip_block(block: Resource) -> Iterator[Block]:
    network = ipaddress.ip_network(block["cidr"], strict=False)
    if network.version == 4:
        addresses = () if network.prefixlen == 0 else (str(network),)
        yield Block(addresses, tuple(block.get("except") or ()))


def _inside(pod: Pod, block: Block) -> bool:
    address = ipaddress.ip_address(pod.address)
    if any(address in ipaddress.ip_network(network, strict=False) for network in block.excepted):
        return False
    return not block.addresses or any(address in ipaddress.ip_network(network) for network in block.addresses)


def _port(port: Resource) -> str:
    protocol, first = port.get("protocol", "TCP").lower(), port.get("port")
    if first is None:
        return f"meta l4proto {protocol} "
    last = port.get("endPort")
    return f"{protocol} dport {first}-{last} " if last and last > first else f"{protocol} dport {first} "


def _by_number(key: tuple[str, str], pods: Iterable[Pod]) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = defaultdict(list)
    for pod in pods:
        if key in pod.ports:
            found[pod.ports[key]].append(pod.address)
    return {number: tuple(addresses) for number, addresses in sorted(found.items())}


def _set(addresses: Iterable[str]) -> str:
    return f"{{ {', '.join(sorted(set(addresses)))} }}"


def _jump(direction: Direction, addresses: set[str]) -> list[str]:
    return [f"    ip {_OWN[direction]} {_set(addresses)} jump {direction}"] if addresses else []


def _hook(name: str, rules: list[str]) -> list[str]:
    begin = [f"  chain {name} {{", f"    type filter hook {name} priority -5; policy accept;"]
    return [*begin, "    ct state established,related accept", *rules, "  }"]
