"""The network of a cluster: a switch in a namespace of its own, into which the machine and the nodes are plugged.

Packets between nodes cross that namespace alone, so no firewall and no setting of the machine (Docker's, for one) touches
them. The machine has one more interface, and routes to the pods over it; both go when the namespace goes.
"""

from __future__ import annotations

import ipaddress
import json

from tools.cluster import namespaces
from tools.cluster.settings import MOST_NODES, NAME, PODS, ClusterError, Settings, pods_of
from tools.cluster.shell import run, succeeds

_SWITCH = "switch"


def check_addresses(settings: Settings) -> None:
    """Raises ClusterError when the machine reaches something else under the cluster's addresses."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
    taken = overlapping(routes, [f"{settings.network}.0/24", f"{PODS}.0.0/16"])
    if taken:
        raise ClusterError(
            f"the addresses {taken[0]} are in use on this machine (see `ip route`), and the cluster needs them; "
            "set PARLEY_CLUSTER_NETWORK to another network when it is that one, as in 10.97.0, else remove the route"
        )


def overlapping(routes: list[dict[str, str]], wanted: list[str]) -> list[str]:
    """The wanted networks that routes of others lead to (``ip -json route``); a default route is none."""
    networks = [ipaddress.ip_network(text) for text in wanted]
    taken = []
    for route in routes:
        destination = route.get("dst", "default")
        if destination == "default" or route.get("dev") == NAME:
            continue
        other = ipaddress.ip_network(destination, strict=False)
        taken += [str(network) for network in networks if other.version == network.version and other.overlaps(network)]
    return taken


def make_switch(settings: Settings) -> None:
    """Makes the namespace with the switch, and plugs the machine in. Raises ClusterError."""
    run("ip", "netns", "add", NAME)
    _ip(NAME, "link", "set", "lo", "up")
    _ip(NAME, "link", "add", _SWITCH, "type", "bridge")
    _ip(NAME, "address", "add", f"{settings.control}/24", "dev", _SWITCH)
    _ip(NAME, "link", "set", _SWITCH, "up")
    run("ip", "link", "add", NAME, "type", "veth", "peer", "name", "machine", "netns", NAME)
    _ip(NAME, "link", "set", "machine", "master", _SWITCH, "up")
    run("ip", "address", "add", f"{settings.machine}/24", "dev", NAME)
    run("ip", "link", "set", NAME, "up")
    for number in range(1, MOST_NODES + 1):
        route = ("route", "add", pods_of(number), "via", settings.node_ip(number))
        run("ip", *route)
        _ip(NAME, *route)
    # What nodes and pods send elsewhere is refused here at once, instead of getting lost.
    namespaces.set_kernel(NAME, ipv4__ip_forward=1)
    _ip(NAME, "route", "add", "unreachable", "default")


def plug_node(settings: Settings, number: int) -> None:
    """Makes a node's namespace and plugs it in. Raises ClusterError."""
    name = namespaces.of_node(number)
    run("ip", "netns", "add", name)
    _ip(name, "link", "set", "lo", "up")
    _ip(name, "link", "add", "eth0", "type", "veth", "peer", "name", f"n{number}", "netns", NAME)
    _ip(NAME, "link", "set", f"n{number}", "master", _SWITCH, "up")
    _ip(name, "address", "add", f"{settings.node_ip(number)}/24", "dev", "eth0")
    _ip(name, "link", "set", "eth0", "up")
    _ip(name, "route", "add", "default", "via", settings.control)
    for other in range(1, MOST_NODES + 1):
        if other != number:
            _ip(name, "route", "add", pods_of(other), "via", settings.node_ip(other))
    namespaces.set_kernel(name, ipv4__ip_forward=1, ipv4__conf__all__rp_filter=0, **{"bridge__bridge-nf-call-iptables": 1})


def unplug_node(number: int) -> None:
    """Cuts a node off, with no word to anybody. Nothing happens when it is off."""
    if namespaces.path_of(NAME).exists():
        succeeds("ip", "-n", NAME, "link", "delete", f"n{number}")


def remove_interface() -> None:
    """Removes the machine's interface, which the kernel else does some time after the namespace went."""
    succeeds("ip", "link", "delete", NAME)


def _ip(namespace: str, *arguments: str) -> None:
    run("ip", "-n", namespace, *arguments)
