"""Configuration of the address book."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from parley.platform.config import Section
from parley.platform.keys import parse_master_key
from services.addressbook.devices.config import DevicesConfig
from services.addressbook.directory.config import DirectoryConfig
from services.addressbook.files.config import FilesConfig


class CertificatesConfig(Section):
    """Certificates by which users sign in without the password (TLS-DSK)."""

    ca_certificate: Path | None = Field(
        default=None, description="PEM file with the CA that signs them, and nothing else; none: one kept with the data"
    )
    ca_key: Path | None = Field(default=None, description="PEM file with its key: ECDSA or RSA, not encrypted")
    hours: float = Field(default=168.0, ge=2, le=8784, description="How long one lasts; clients use none with an hour left")
    per_user: int = Field(default=8, ge=1, le=64, description="Devices of a user; a further one ends the oldest certificate")

    @model_validator(mode="after")
    def _is_whole(self) -> CertificatesConfig:
        if (self.ca_certificate is None) != (self.ca_key is None):
            raise ValueError("ca_certificate and ca_key belong together")
        return self


class AddressBookConfig(Section):
    """Users, passwords, and the demo users of a first try."""

    domains: list[str] = Field(default=["example.test"], min_length=1, description="SIP domains that users may have")
    min_password_length: int = Field(default=8, ge=1, le=128, description="Shortest password")
    demo: bool = Field(default=False, description="Make alice, bob and carol in the first domain when they are absent")
    demo_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of the demo users; empty: a random one, kept with the data",
    )
    directory: DirectoryConfig = Field(default=DirectoryConfig(), description="Where entries of the directory come from")
    files: FilesConfig = Field(default=FilesConfig(), description="Address-book files")
    devices: DevicesConfig = Field(default=DevicesConfig(), description="Updates of devices")
    certificates: CertificatesConfig = Field(default=CertificatesConfig(), description="Certificates of users")
    previous_master_key: SecretStr = Field(
        default=SecretStr(""),
        description="Master key before the present one: credentials sealed with it are read, and sealed anew at start",
    )

    @field_validator("previous_master_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            parse_master_key(value.get_secret_value())
        return value
