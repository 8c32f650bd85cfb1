"""Configuration of the A/V edge."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from parley.platform.config import Section
from services.avedge.issuing import MAX_HOURS


class EdgePorts(Section):
    """Where clients come in; each port takes every dialect that its kind of socket can carry."""

    udp: int = Field(default=3478, ge=-1, le=65535, description="STUN and TURN over UDP, and DTLS; 0 a free port, -1 none")
    tcp: int = Field(default=3478, ge=-1, le=65535, description="STUN and TURN over TCP, and TLS; 0 a free port, -1 none")
    dtls: int = Field(default=5349, ge=-1, le=65535, description="Like `udp`, for clients that look for DTLS; -1 none")
    tls: int = Field(default=5349, ge=-1, le=65535, description="Like `tcp`, for clients that look for TLS; -1 none")
    https: int = Field(
        default=-1, ge=-1, le=65535,
        description="Like `tcp`, 443 for clients behind firewalls and for MS-TURN's pseudo-TLS; -1 none",
    )  # fmt: skip
    discovery: int = Field(
        default=3479, ge=1, le=65535, description="Like `udp`, on the addresses of `discovery.hosts` when there are any"
    )


class EdgeDiscovery(Section):
    """NAT behaviour discovery (RFC 5780): clients find out what the NATs before them do.

    It answers from two addresses and two ports, `ports.udp` and `ports.discovery`.
    """

    hosts: list[str] = Field(
        default=[], description="Two addresses of one family that are in `listen` as well; empty: it is not offered"
    )
    advertised: list[str] = Field(
        default=[], description="The addresses that clients reach them by, in the same order; empty: the same ones"
    )

    @model_validator(mode="after")
    def _are_two(self) -> EdgeDiscovery:
        for name, hosts in (("hosts", self.hosts), ("advertised", self.advertised)):
            addresses = [ip_address(host) for host in hosts]
            if hosts and (len(set(addresses)) != 2 or len(hosts) != 2 or addresses[0].version != addresses[1].version):
                raise ValueError(f"discovery.{name} takes two different addresses of one family")
        if self.advertised and not self.hosts:
            raise ValueError("discovery.advertised goes with discovery.hosts")
        return self


class EdgeTls(Section):
    """Certificates of TLS and DTLS; without them a development CA kept with the data issues one."""

    certificate: Path | None = Field(default=None, description="PEM file with the certificate and its chain")
    key: Path | None = Field(default=None, description="PEM file with the key")

    @model_validator(mode="after")
    def _is_whole(self) -> EdgeTls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class RelayRange(Section):
    """The ports that stand for clients."""

    first: int = Field(default=49152, ge=1024, le=65534, description="First port of the relay range, an even number")
    last: int = Field(default=65535, ge=1025, le=65535, description="Last port of the relay range, an odd number")
    hosts: list[str] = Field(
        default=[],
        description="Addresses that relay ports are opened on, one of each family; empty: those of `listen`, and in place "
        "of a wildcard the machine's own address",
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> RelayRange:
        if self.first % 2 or not self.last % 2 or self.first > self.last:
            raise ValueError("the relay range begins with an even port and ends with a higher odd one")
        families = [ip_address(host).version for host in self.hosts]
        if len(set(families)) < len(families):
            raise ValueError("relay.hosts has two addresses of one family")
        return self


class AdvertisedConfig(Section):
    """The address that clients and peers reach the edge by, when it is not the one it is bound to, as behind 1:1 NAT.

    Tried in this order: `hosts`, `hosts_file`, `node_addresses`, `stun_servers`, the bound address.
    """

    hosts: list[str] = Field(default=[], description="Addresses, one of each family")
    hosts_file: Path | None = Field(default=None, description="File with such addresses, one a line; waited for at start")
    node_addresses: str = Field(
        default="", description="The node's addresses, with commas between, as Kubernetes tells them"
    )
    stun_servers: list[str] = Field(default=[], description="host:port of STUN servers that say how they see this one")
    wait_seconds: float = Field(default=30.0, ge=0, description="Longest wait for `hosts_file` to have an address")
    self_test: bool = Field(
        default=True, description="Whether the edge tries its own advertised address after the start, with an allocation"
    )

    @field_validator("hosts")
    @classmethod
    def _are_addresses(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            ip_address(host)
        return hosts


class EdgeCredentials(Section):
    """Who may allocate, besides whom the server itself issues credentials to."""

    realm: str = Field(default="example.test", min_length=1, max_length=127, description="Realm shown to clients")
    shared_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Secret of time-limited credentials that other programs issue (TURN REST); empty: derived from the "
        "master key, so that Parley alone issues them",
    )
    hours: float = Field(
        default=8.0, gt=0, le=MAX_HOURS, description="Longest time that issued credentials are good for new allocations"
    )
    grace_hours: float = Field(
        default=24.0, ge=0, le=168,
        description="How long those of MRAS are taken after their end, as there are clients that ask once, at sign-in",
    )  # fmt: skip
    users: dict[str, SecretStr] = Field(default={}, description="Passwords by name, for clients that cannot ask for any")


class PeerConfig(Section):
    """Where packets may be relayed to. Special addresses (loopback, private, multicast...) are denied by default."""

    allow: list[str] = Field(default=[], description="Networks that are allowed though they are special, as 10.1.0.0/16")
    deny: list[str] = Field(default=[], description="Networks that are denied besides")
    loopback: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="Whether peers may be on this machine. auto: only when every listener is on loopback, as with a plain "
        "`parley run`: then nobody else can ask for it, and everybody who can is on this machine already; on any other "
        "listener it would open services that trust loopback to the whole internet",
    )

    @field_validator("allow", "deny")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks


class EdgeLimits(Section):
    """What one user, one address and all together may use; with several `workers` each holds them for itself."""

    allocations: int = Field(default=20_000, ge=1, description="Allocations")
    allocations_per_user: int = Field(default=32, ge=1, description="Allocations of one user name")
    allocations_per_address: int = Field(default=256, ge=1, description="Allocations of one client address")
    bytes_per_second: int = Field(default=0, ge=0, description="Payload of one allocation in each direction; 0: no limit")
    challenges_per_second: float = Field(
        default=10.0, gt=0, description="401 replies to one source address, on average; more get no reply"
    )
    challenge_burst: int = Field(default=200, ge=1, description="401 replies to one source address, at once")
    connections: int = Field(default=10_000, ge=1, description="TCP connections")
    connections_per_allocation: int = Field(
        default=64, ge=1, description="TCP connections between one allocation and its peers"
    )
    connections_per_address: int = Field(default=256, ge=1, description="TCP connections of one client address")
    handshakes: int = Field(default=2_000, ge=1, description="DTLS associations")
    handshake_seconds: float = Field(default=10.0, gt=0, description="Longest handshake, and longest wait for first bytes")
    idle_seconds: float = Field(
        default=120.0,
        gt=0,
        description="Silence that ends a TCP connection or DTLS association without allocation",
    )
    buffer_bytes: int = Field(
        default=262_144, ge=65_536,
        description="What may wait for a slow client; packets beyond it are dropped, and TCP peers made to wait",
    )  # fmt: skip
    receive_buffer_bytes: int = Field(default=8_388_608, ge=65_536, description="Receive buffer asked for UDP listeners")


class AvEdgeConfig(Section):
    """STUN and TURN: the relay of voice and video."""

    listen: list[str] = Field(default=[], description="Addresses to listen on; empty: platform.bind")
    ports: EdgePorts = Field(default=EdgePorts(), description="Where clients come in")
    host_name: str = Field(
        default="", description="Name that clients are told, which resolves to the advertised addresses; empty: the address"
    )
    relay: RelayRange = Field(default=RelayRange(), description="The ports that stand for clients")
    advertised: AdvertisedConfig = Field(default=AdvertisedConfig(), description="How the edge is reached from outside")
    alternate: list[str] = Field(
        default=[],
        description="Addresses of other edges, one of each family, where clients are sent to while this one drains; they "
        "keep the port that they used, so the others listen on the same ones",
    )
    discovery: EdgeDiscovery = Field(default=EdgeDiscovery(), description="NAT behaviour discovery")
    tls: EdgeTls = Field(default=EdgeTls(), description="Certificates of TLS and DTLS")
    credentials: EdgeCredentials = Field(default=EdgeCredentials(), description="Who may allocate")
    peers: PeerConfig = Field(default=PeerConfig(), description="Where packets may be relayed to")
    limits: EdgeLimits = Field(default=EdgeLimits(), description="Limits")
    plane: Literal["auto", "native", "python"] = Field(
        default="auto",
        description="What moves the packets of clients on UDP: the native packet path (`make native`), or Python; auto: the "
        "former where it is built",
    )
    workers: int = Field(
        default=0, ge=0, le=64,
        description="Processes that relay, each with a share of clients and relay ports, for more than one core; 0: it is "
        "done in the service's own process; with several, RFC 6062 is not offered",
    )  # fmt: skip
    drain_seconds: float = Field(
        default=3600.0, ge=0, description="Longest wait for allocations to end; platform.drain_seconds bounds it as well"
    )

    @field_validator("listen", "alternate")
    @classmethod
    def _are_addresses(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            ip_address(host)
        return hosts

    @model_validator(mode="after")
    def _can_discover(self) -> AvEdgeConfig:
        if self.discovery.hosts:
            if not set(self.discovery.hosts) <= set(self.listen):
                raise ValueError("the addresses in discovery.hosts must be in listen too, written alike")
            if self.ports.udp <= 0 or self.ports.udp == self.ports.discovery:
                raise ValueError("with discovery.hosts, ports.udp and ports.discovery are two fixed ports")
        return self

    @model_validator(mode="after")
    def _has_ports_for_every_worker(self) -> AvEdgeConfig:
        if (self.relay.last - self.relay.first + 1) // 2 < self.workers:
            raise ValueError("the relay range has fewer pairs of ports than there are workers")
        return self
