"""Configuration of the HTTP services."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, field_validator, model_validator

from parley.addressbook.entries import normal_address
from parley.addressbook.errors import EntryError
from parley.platform.config import Section
from services.web.devices.config import WebDevicesConfig
from services.web.downloads.config import DownloadsConfig
from services.web.expansion.config import ExpansionConfig

_MIN_TOKEN: Final = 24
"""Characters of a static token."""


class WebTlsConfig(Section):
    """Certificates; without them a development CA kept with the data issues one."""

    certificate: Path | None = Field(default=None, description="PEM file with the certificate and its chain")
    key: Path | None = Field(default=None, description="PEM file with the key")

    @model_validator(mode="after")
    def _is_whole(self) -> WebTlsConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class WebLimitsConfig(Section):
    """What one source, one user and all together may use."""

    connections: int = Field(default=2_000, ge=1, description="Connections in all")
    connections_per_address: int = Field(default=64, ge=1, description="Connections of one source address")
    requests_per_second: float = Field(default=20.0, gt=0, description="Per source address, on average")
    request_burst: int = Field(default=100, ge=1, description="Per source address, at once")
    body_bytes: int = Field(default=65_536, ge=8_192, le=1_048_576, description="Largest body of a request")
    request_seconds: float = Field(
        default=15.0, gt=0, description="Longest time for a request to arrive and be answered; also for the first to begin"
    )
    user_requests_per_second: float = Field(default=20.0, gt=0, description="Per user who has signed in, on average")
    user_request_burst: int = Field(default=100, ge=1, description="Per user who has signed in, at once")
    picture_bytes: int = Field(
        default=262_144, ge=8_192, le=4_194_304, description="Largest picture of a person that may be sent"
    )
    failures_per_source: int = Field(default=30, ge=1, description="Failed sign-ins a minute before a source is refused")
    failures_per_user: int = Field(
        default=5, ge=1, description="Failed sign-ins a minute before answers to a user are delayed"
    )


class WebKerberosConfig(Section):
    """Sign-in with Kerberos tickets (Negotiate)."""

    keytab: Path | None = Field(default=None, description="Keytab with the key of the service principal; empty: no Kerberos")
    service_principal: str = Field(
        default="", description="As HTTP/web.example.com or HTTP/web.example.com@REALM; empty: HTTP/ and the name in web.url"
    )
    realms: dict[str, str] = Field(
        default={},
        description="SIP domains by realm (CORP.EXAMPLE.COM: example.com); empty: realms are the domains in upper case",
    )
    replay_cache: Path | None = Field(
        default=None, description="File that tells repeated tickets; empty: kept with the data"
    )


class OidcConfig(Section):
    """A provider of OpenID Connect whose access tokens are taken."""

    issuer: str = Field(pattern=r"^https://[^\s]+$", description="As tokens have it in iss: https://login.example.com/realm")
    audience: str = Field(min_length=1, description="What tokens are to have in aud")
    address_claim: str = Field(
        default="email", min_length=1, description="The claim with the user's address or login: email, preferred_username"
    )
    domain: str = Field(default="", description="SIP domain of users whose claim has none; empty: the first domain")
    leeway_seconds: float = Field(default=60.0, ge=0, le=600, description="How far clocks may differ")
    jwks_url: str = Field(
        default="", pattern=r"^(https://[^\s]+)?$", description="Where the keys are; empty: where discovery says"
    )
    ca: Path | None = Field(default=None, description="PEM file with the CA of the provider; empty: those of the system")


class ScimConfig(Section):
    """Who may provision users and groups by SCIM; with neither, nobody may."""

    token: SecretStr = Field(default=SecretStr(""), description="Static bearer token, at least 24 characters")
    scope: str = Field(default="", description="Scope or role that an OIDC token needs to have for it; empty: none will do")
    administrator_passwords: bool = Field(
        default=False, description="Whether it may set passwords of web.administrators, and so administer itself"
    )

    @field_validator("token")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value()) < _MIN_TOKEN:
            raise ValueError(f"a token has at least {_MIN_TOKEN} characters")
        return value


class WebConfig(Section):
    """Where HTTP comes in."""

    listen: list[str] = Field(default=[], description="Addresses to listen on; empty: platform.bind")
    port: int = Field(default=8443, ge=0, le=65535, description="HTTPS; 0 takes a free port")
    url: str = Field(
        default="", pattern=r"^(https://[^/\s]+)?$",
        description="What clients reach it by, as https://web.example.com:8443; empty: listen address and port",
    )  # fmt: skip
    domains: list[str] = Field(default=["example.test"], min_length=1, description="SIP domains served")
    tls: WebTlsConfig = Field(default=WebTlsConfig(), description="Certificates")
    ticket_hours: float = Field(default=8.0, gt=0, le=24, description="How long a web ticket lasts")
    backend_seconds: float = Field(default=5.0, gt=0, description="Longest wait for another service")
    limits: WebLimitsConfig = Field(default=WebLimitsConfig(), description="Limits")
    administrators: list[str] = Field(
        default=[], description="Addresses of users who may administer over HTTP: alice@example.com"
    )
    session_hours: float = Field(default=8.0, gt=0, le=24, description="How long a sign-in to the admin page lasts")
    hsts_days: int = Field(
        default=365, ge=0, description="How long browsers insist on HTTPS, when web.url has a name; 0: not told"
    )
    kerberos: WebKerberosConfig = Field(default=WebKerberosConfig(), description="Sign-in with Kerberos tickets")
    oidc: list[OidcConfig] = Field(default=[], description="Providers of OpenID Connect")
    downloads: DownloadsConfig = Field(default=DownloadsConfig(), description="Files that clients and devices fetch")
    devices: WebDevicesConfig = Field(default=WebDevicesConfig(), description="Updates of devices")
    expansion: ExpansionConfig = Field(default=ExpansionConfig(), description="Groups and searches by SOAP")
    scim: ScimConfig = Field(default=ScimConfig(), description="Provisioning of users and groups")

    @field_validator("administrators")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        try:
            return [normal_address(text) for text in value]
        except EntryError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _issuers_fit(self) -> WebConfig:
        if len({provider.issuer for provider in self.oidc}) < len(self.oidc):
            raise ValueError("oidc names one issuer twice")
        if self.scim.scope and not self.oidc:
            raise ValueError("scim.scope is of tokens of oidc, which names nobody who issues them")
        return self
