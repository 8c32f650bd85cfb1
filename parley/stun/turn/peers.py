"""Which peers a relay may reach: it must not open the network it stands in to its clients (RFC 8656 section 21.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What the special-purpose registries (RFC 6890) do not give to hosts of the Internet, and the IPv6 ranges that stand for an
# IPv4 address (mapped, compatible, NAT64, 6to4, Teredo): with them a client could name an IPv4 peer that is denied.
DENIED: Final = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4",
    "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
    "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)  # fmt: skip
_CACHE: Final = 4096


class PeerPolicy:
    """Judges peer addresses.

    What is in ``allow`` is allowed, else what is in ``deny`` is not, else all is. ``own``: the addresses of this relay, as
    bound and as advertised; behind them are its own services too, so they are allowed on relay ports and no others. A port
    is judged for these alone.
    """

    __slots__ = ("_allow", "_deny", "_judge", "own", "relay_ports")

    def __init__(
        self,
        allow: Iterable[str] = (),
        deny: Iterable[str] = DENIED,
        *,
        own: Iterable[str] = (),
        relay_ports: range = range(49152, 65536),
    ) -> None:
        """``allow``, ``deny``: networks, as "10.0.0.0/8". Raises ValueError for what is none."""
        self._allow = _networks(allow)
        self._deny = _networks(deny)
        self.own = frozenset(own)
        self.relay_ports = relay_ports
        self._judge = lru_cache(_CACHE)(self._judge_host)

    def allows(self, host: str) -> bool:
        """Whether a permission may be made for that address, in its shortest text form."""
        return host in self.own or self._judge(host)

    def allows_port(self, host: str, port: int) -> bool:
        """Whether packets may go to that port of an allowed address; port 0 is none."""
        return port in self.relay_ports if host in self.own else port > 0

    def _judge_host(self, host: str) -> bool:
        address = ipaddress.ip_address(host)
        return any(address in network for network in self._allow) or not any(address in network for network in self._deny)


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)
