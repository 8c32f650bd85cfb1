"""Configuration of the HTTP services."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from parley.platform.config import Section


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
    failures_per_source: int = Field(default=30, ge=1, description="Failed sign-ins a minute before a source is refused")
    failures_per_user: int = Field(
        default=5, ge=1, description="Failed sign-ins a minute before answers to a user are delayed"
    )


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
