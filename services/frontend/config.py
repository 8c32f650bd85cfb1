"""Configuration of the front end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from parley.platform.config import Section


class Ports(Section):
    """Ports; 0 takes a free one, -1 leaves the transport off."""

    udp: int = Field(default=5060, ge=-1, le=65535, description="SIP over UDP")
    tcp: int = Field(default=5060, ge=-1, le=65535, description="SIP over TCP")
    tls: int = Field(default=5061, ge=-1, le=65535, description="SIP over TLS")
    ws: int = Field(default=5066, ge=-1, le=65535, description="SIP over WebSocket (RFC 7118)")
    wss: int = Field(default=7443, ge=-1, le=65535, description="SIP over WebSocket and TLS")
    peers: int = Field(default=-1, ge=-1, le=65535, description="Mutual TLS for trusted servers (5063 by custom)")


class TlsConfig(Section):
    """Certificates; without them a development CA kept with the data issues one."""

    certificate: Path | None = Field(default=None, description="PEM file with the certificate and its chain")
    key: Path | None = Field(default=None, description="PEM file with the key")
    peer_ca: Path | None = Field(default=None, description="PEM file with the CA of trusted servers")


class DigestConfig(Section):
    """Digest authentication."""

    algorithms: list[Literal["SHA-256", "MD5"]] = Field(
        default=["SHA-256", "MD5"], min_length=1, description="Offered in this order"
    )
    md5_only_agents: list[str] = Field(
        default=["baresip", "JsSIP", "SIPp", "PJSUA v1", "Linphone/3"],
        description="Beginnings of User-Agent whose stacks give up when they see SHA-256; they are offered MD5 alone",
    )
    nonce_seconds: int = Field(default=300, ge=30, le=86_400, description="How long a nonce is in force")
    cache_seconds: float = Field(default=60.0, ge=0, description="How long credentials are kept; changes are told at once")


class KerberosConfig(Section):
    """Sign-in with Kerberos tickets."""

    keytab: Path | None = Field(default=None, description="Keytab with the key of the service principal")
    service_principal: str = Field(
        default="", description="As sip/ocs.example.com or sip/ocs.example.com@REALM; empty: sip/ and the server name"
    )
    realms: dict[str, str] = Field(
        default={},
        description="SIP domains by realm (CORP.EXAMPLE.COM: example.com); empty: realms are the domains in upper case",
    )
    replay_cache: Path | None = Field(
        default=None, description="File that tells repeated tickets; empty: kept with the data"
    )


class CommunicatorConfig(Section):
    """What Office Communicator and clients like it are told."""

    server_name: str = Field(default="", description="FQDN in challenges; empty: advertise, else the first domain")
    keep_alive_seconds: int = Field(default=300, ge=30, le=3600, description="Silence after which they send a keep-alive")
    association_hours: float = Field(default=8.0, gt=0, le=24, description="How long a security association lasts")
    schemes: dict[str, list[Literal["TLS-DSK", "Kerberos", "NTLM"]]] = Field(
        default={},
        description="Schemes by SIP domain, offered in this order (example.com: [Kerberos, NTLM]); a domain not named: NTLM",
    )
    kerberos: KerberosConfig = Field(default=KerberosConfig(), description="Sign-in with Kerberos tickets")
    certificate_url: str = Field(
        default="",
        pattern=r"^(https://[^\s\"]+)?$",
        description="Where clients get certificates for TLS-DSK; empty: the service `web` on port 8443 of the server name",
    )


class LimitsConfig(Section):
    """What one source, one user and all together may use."""

    requests_per_second: float = Field(default=200.0, gt=0, description="Per source address, on average")
    request_burst: int = Field(default=600, ge=1, description="Per source address, at once")
    user_requests_per_second: float = Field(default=50.0, gt=0, description="Per user, requests outside dialogs, on average")
    user_request_burst: int = Field(default=200, ge=1, description="Per user, at once")
    connections: int = Field(default=60_000, ge=1, description="Connections in all")
    connections_per_address: int = Field(default=256, ge=1, description="Connections of one source address")
    message_bytes: int = Field(default=65_535, ge=2048, le=1_048_576, description="Largest message")
    message_seconds: float = Field(default=10.0, gt=0, description="Longest time a message may take to arrive whole")
    first_message_seconds: float = Field(default=30.0, gt=0, description="Silence after which a new connection is closed")
    idle_seconds: float = Field(default=7_500.0, gt=0, description="Silence after which any connection is closed")
    write_buffer_bytes: int = Field(
        default=1_048_576, ge=65_536, description="Unread output after which a slow reader is cut off"
    )
    tls_handshake_seconds: float = Field(default=10.0, gt=0, description="Longest TLS handshake")
    transactions: int = Field(default=100_000, ge=100, description="Transactions at a time")
    udp_flows: int = Field(default=200_000, ge=100, description="UDP sources remembered")
    failures_per_source: int = Field(default=30, ge=1, description="Failed sign-ins a minute before a source is refused")
    failures_per_user: int = Field(
        default=5, ge=1, description="Failed sign-ins a minute before answers to a user are delayed"
    )


class ApplicationRoute(Section):
    """One row of the routing table."""

    application: str = Field(description="Name of the application, a key of platform.rpc.targets")
    methods: list[str] = Field(default=[], description="Methods; empty: all")
    events: list[str] = Field(default=[], description="Event packages; empty: all")
    opaque: str = Field(default="", description="Beginning of the opaque parameter of the Request-URI")
    domains: list[str] = Field(default=[], description="Domains of the Request-URI; empty: all")
    user: str = Field(default="", description="Regular expression for the whole user part")


class OutboundConfig(Section):
    """Calls to other domains; closed unless opened here."""

    domains: list[str] = Field(default=[], description="Domains that users may call; '*' is all")
    nameservers: list[str] = Field(default=[], description="IP addresses of DNS servers; empty: those of the system")
    nameserver_port: int = Field(default=53, ge=1, le=65535, description="Port of the DNS servers")
    ipv6: bool = Field(default=False, description="Look for IPv6 addresses too")
    connect_seconds: float = Field(default=4.0, gt=0, description="Longest time to connect to a server")


class FrontendConfig(Section):
    """Where SIP comes in."""

    domains: list[str] = Field(default=["example.test"], min_length=1, description="SIP domains served")
    listen: list[str] = Field(default=[], description="Addresses to listen on; empty: platform.bind")
    ports: Ports = Field(default=Ports(), description="Ports")
    advertise: str = Field(
        default="",
        description="Host name or address clients reach this front end at; empty: the listen address",
    )
    advertise_ports: dict[str, int] = Field(default={}, description="Ports clients use, by transport, where they differ")
    edge_uid: str = Field(
        default="",
        description="Unique name that outlives a restart: the pod's UID; empty: kept with the data",
    )
    lease_seconds: float = Field(default=6.0, ge=1, description="Length of the lease by which others know that it lives")
    reuse_port: bool = Field(default=False, description="Share the UDP port with other processes of this machine")
    tls: TlsConfig = Field(default=TlsConfig(), description="Certificates")
    digest: DigestConfig = Field(default=DigestConfig(), description="Digest authentication")
    communicator: CommunicatorConfig = Field(default=CommunicatorConfig(), description="Office Communicator")
    limits: LimitsConfig = Field(default=LimitsConfig(), description="Limits")
    applications: list[ApplicationRoute] = Field(
        default=[], description="Requests that go to applications; the first row that fits"
    )
    trusted_peers: list[str] = Field(default=[], description="Names in certificates of servers that need no digest")
    outbound: OutboundConfig = Field(default=OutboundConfig(), description="Calls to other domains")
    websocket_origins: list[str] = Field(default=[], description="Origins of pages that may connect; empty: all")
    flow_grace_seconds: float = Field(
        default=2.0,
        ge=0,
        description="Time between the end of a connection and of its bindings; a call waits as long for its device",
    )
    edge_grace_seconds: float = Field(
        default=10.0,
        ge=0,
        description="Longest wait of a call for a device whose front end has ended; of no use above registrar.edge_grace",
    )
    dialog_grace_seconds: float = Field(
        default=20.0,
        ge=0,
        lt=32,
        description="The same of a request in a dialog, as a call that goes on; below the 32 seconds that phones wait",
    )
    backend_seconds: float = Field(default=3.0, gt=0, description="Longest wait for another service; below SIP's Timer F")
    drain_seconds: float = Field(
        default=30.0, ge=0, description="Longest drain; connections are closed at its end, spread out"
    )
    timer_c: float = Field(default=185.0, ge=1, description="Seconds an INVITE may ring")

    @property
    def server_name(self) -> str:
        """The name by which Communicator knows this server; the same at every front end."""
        return self.communicator.server_name or self.advertise or self.domains[0]

    @property
    def signed_schemes(self) -> dict[str, tuple[str, ...]]:
        """Schemes of Communicator that a SIP domain offers, by domain in lower case."""
        named = {domain.lower(): tuple(schemes) for domain, schemes in self.communicator.schemes.items()}
        return {domain.lower(): named.get(domain.lower(), ("NTLM",)) for domain in self.domains}

    @property
    def dsk_domains(self) -> list[str]:
        """SIP domains whose users may sign in with a certificate."""
        return [domain for domain, schemes in self.signed_schemes.items() if "TLS-DSK" in schemes]

    @property
    def certificate_url(self) -> str:
        """Where clients get certificates."""
        return self.communicator.certificate_url or f"https://{self.server_name}:8443/CertProv/CertProvisioningService.svc"

    @property
    def kerberos_domains(self) -> list[str]:
        """SIP domains whose users may sign in with Kerberos."""
        return [domain for domain, schemes in self.signed_schemes.items() if "Kerberos" in schemes]

    @property
    def kerberos_service(self) -> str:
        """Whom Kerberos tickets are for, with or without a realm."""
        return self.communicator.kerberos.service_principal or f"sip/{self.server_name}"

    @property
    def realms(self) -> dict[str, str]:
        """SIP domains by Kerberos realm."""
        named = self.communicator.kerberos.realms
        return {realm: domain.lower() for realm, domain in named.items()} or {d.upper(): d for d in self.kerberos_domains}

    @model_validator(mode="after")
    def _schemes_can_be_offered(self) -> FrontendConfig:
        offered, kerberos = self.signed_schemes, self.kerberos_domains
        for domain, schemes in self.communicator.schemes.items():
            if domain.lower() not in offered:
                raise ValueError(f"communicator.schemes names {domain}, which is not one of frontend.domains")
            if not schemes or len(set(schemes)) < len(schemes):
                raise ValueError(f"communicator.schemes has for {domain} no scheme, or one twice")
        if kerberos and self.communicator.kerberos.keytab is None:
            raise ValueError(
                f"{kerberos[0]} offers Kerberos: set communicator.kerberos.keytab, or take it out of the schemes"
            )
        for realm, domain in self.communicator.kerberos.realms.items():
            if domain.lower() not in kerberos:
                raise ValueError(f"communicator.kerberos.realms names {domain} for {realm}, which does not offer Kerberos")
        return self
