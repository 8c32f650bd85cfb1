"""How the edge is reached: where relay ports are bound, and by which addresses others know them.

The advertised address is taken from the first rung that has one: the configured address; a file that something else writes
(the address of a load balancer that is known only after it was made); the node's address; what a STUN server sees; the bound
address itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from parley.platform.addresses import is_wildcard
from parley.stun.addresses import Address, Family
from parley.stun.probe import Probe, ProbeError
from services.avedge.config import AdvertisedConfig

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.2
_SERVER_S: Final = 2.5
_FAR: Final = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}


def relay_hosts(configured: list[str], listen: list[str]) -> list[str]:
    """Addresses to bind relay ports on, one of each family; a wildcard stands for the machine's own address."""
    found: dict[Family, str] = {}
    for host in configured or listen:
        family = Address(host, 0).family
        own = own_address(family) if is_wildcard(host) else str(ip_address(host))
        if own is not None:
            found.setdefault(family, own)
    return list(found.values())


def own_address(family: Family) -> str | None:
    """The address that this machine sends from towards the outside; None when there is no way out. Nothing is sent."""
    kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as sock:
            sock.connect((_FAR[family], 9))
            host: str = sock.getsockname()[0]
            return host
    except OSError:
        return None


async def advertised_hosts(config: AdvertisedConfig, local: list[str]) -> tuple[dict[str, str], str]:
    """Advertised addresses by bound ones, and the name of the rung they are from."""
    rungs = (("configured", config.hosts), ("file", await _from_file(config)), ("node", _parsed(config.node_addresses)))
    for rung, hosts in rungs:
        if hosts:
            return _paired(local, hosts), rung
    if config.stun_servers:
        seen = {host: mapped for host in local if (mapped := await _seen_by(config.stun_servers, host)) is not None}
        if seen:
            return {host: seen.get(host, host) for host in local}, "stun"
        logger.warning("no STUN server answered: the edge advertises the addresses it is bound to")
    return {host: host for host in local}, "bound"


def _paired(local: list[str], hosts: Iterable[str]) -> dict[str, str]:
    """For each bound address the first that is advertised of its family, else itself."""
    by_family: dict[Family, str] = {}
    for host in hosts:
        by_family.setdefault(Address(host, 0).family, str(ip_address(host)))
    return {host: by_family.get(Address(host, 0).family, host) for host in local}


def _parsed(text: str) -> list[str]:
    """The addresses in a text, those that are public first; what is no address (a host name) is left out."""
    found = []
    for item in text.replace("\n", ",").split(","):
        try:
            found.append(ip_address(item.strip()))
        except ValueError:
            continue
    return [str(address) for address in sorted(found, key=lambda address: not address.is_global)]


async def _from_file(config: AdvertisedConfig) -> list[str]:
    """The addresses in the file, waited for."""
    path = config.hosts_file
    if path is None or config.hosts:
        return []
    if hosts := _read(path):
        return hosts
    logger.info("waiting for an address in %s", path)
    try:
        async with asyncio.timeout(config.wait_seconds):
            while not (hosts := _read(path)):
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        logger.warning("%s has no address after %.0f seconds", path, config.wait_seconds)
        return []
    return hosts


def _read(path: Path) -> list[str]:
    try:
        return _parsed(path.read_text())
    except OSError:
        return []


async def _seen_by(servers: list[str], local: str) -> str | None:
    """How the first STUN server that answers sees an address of ours."""
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(_SERVER_S), Probe.open(Address(host.strip("[]"), int(port)), local=local) as probe:
                return (await probe.binding()).host
        except (OSError, TimeoutError, ProbeError, ValueError) as error:
            logger.warning("the STUN server %s is of no use: %s", server, error or "no answer")
    return None
