"""What the NetworkPolicies of a release let through: for pods of one namespace, and outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.chart.rendering import Pod, Rendered

OUTSIDE = "outside"
"""Stands for any address that is no pod of the release."""


class Policies:
    """The policies of a release."""

    def __init__(self, release: Rendered) -> None:
        self._policies = [item["spec"] for item in release.of("NetworkPolicy").values()]

    def allows(self, source: Pod | str, destination: Pod | str, protocol: str, port: int) -> bool:
        """Whether packets get from one to the other: out of the first, and into the second."""
        return self._passes("egress", source, destination, protocol, port) and self._passes(
            "ingress", destination, source, protocol, port
        )

    def isolates(self, pod: Pod, direction: str) -> bool:
        """Whether some policy makes what it does not allow refused."""
        return any(direction.capitalize() in spec["policyTypes"] for spec in self._of(pod))

    def accepts(self, pod: Pod, protocol: str, port: int) -> bool:
        """Whether anybody at all may come in at a port."""
        rules = [rule for spec in self._of(pod) for rule in spec.get("ingress", ())]
        return any(_has_port(rule, protocol, port) for rule in rules)

    def _of(self, pod: Pod) -> Iterator[Mapping[str, Any]]:
        for spec in self._policies:
            if _selects(spec["podSelector"], pod):
                yield spec

    def _passes(self, direction: str, pod: Pod | str, other: Pod | str, protocol: str, port: int) -> bool:
        if isinstance(pod, str) or not self.isolates(pod, direction):
            return True
        word = {"egress": "to", "ingress": "from"}[direction]
        rules = [rule for spec in self._of(pod) for rule in spec.get(direction, ())]
        return any(_has_port(rule, protocol, port) and _names(rule.get(word), other) for rule in rules)


def _selects(selector: Mapping[str, Any], pod: Pod) -> bool:
    assert "matchExpressions" not in selector
    return bool(selector.get("matchLabels", {}).items() <= pod.labels.items())


def _has_port(rule: Mapping[str, Any], protocol: str, port: int) -> bool:
    if "ports" not in rule:
        return True
    return any(
        entry["protocol"] == protocol
        and ("port" not in entry or entry["port"] <= port <= entry.get("endPort", entry["port"]))
        for entry in rule["ports"]
    )


def _names(peers: Sequence[Mapping[str, Any]] | None, other: Pod | str) -> bool:
    """Whether a list of peers has somebody in it; without a list everybody is."""
    if peers is None:
        return True
    for peer in peers:
        if "ipBlock" in peer and isinstance(other, str):
            return True
        if "podSelector" in peer and isinstance(other, Pod) and _selects(peer["podSelector"], other):
            return True
    return False
