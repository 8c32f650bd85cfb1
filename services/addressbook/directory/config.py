"""Configuration of the directory: where entries come from, and what their numbers mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from parley.addressbook.attributes import attribute
from parley.addressbook.errors import FilterError, NumberRuleError
from parley.addressbook.ldap.filters import parse_filter
from parley.platform.config import Section

if TYPE_CHECKING:
    from parley.addressbook.numbers.locations import Location

_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9;-]{0,63}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class ExtensionsConfig(Section):
    """Extensions of one length, and what they stand for."""

    first: str = Field(description="First extension: 2 to 6 digits")
    last: str = Field(description="Last one, of the same length")
    number: str = Field(description="+4930123: what they are dialled behind, or the number that has them")
    direct: bool = Field(default=True, description="Dialled right behind the number; false: asked for there (;ext=)")


class NumbersConfig(Section):
    """How numbers of the directory are written, and what they mean."""

    country: str = Field(default="", description="Country of numbers without a country code: DE, US; empty: none is assumed")
    area_code: str = Field(default="", description="Area code of numbers without one; empty: they are left alone")
    outside_prefix: str = Field(default="", description="What is written before outside numbers: 0, 9")
    extensions: list[ExtensionsConfig] = Field(default=[], description="What extensions stand for")
    company_rules: Path | None = Field(
        default=None, description="Company_Phone_Number_Normalization_Rules.txt of the original; its rules come first"
    )

    @model_validator(mode="after")
    def _is_a_location(self) -> NumbersConfig:
        try:
            self.location()
        except NumberRuleError as error:
            raise ValueError(str(error)) from None
        return self

    def location(self) -> Location | None:
        """Where numbers are written. Raises NumberRuleError."""
        if not self.country:
            if self.area_code or self.outside_prefix or self.extensions:
                raise NumberRuleError("area_code, outside_prefix and extensions need a country")
            return None
        # Every process reads the configuration; what is known of the numbers of all countries takes it a tenth of a second.
        from parley.addressbook.numbers.locations import ExtensionRange, Location, checked_location

        ranges = tuple(ExtensionRange(item.first, item.last, item.number, item.direct) for item in self.extensions)
        return checked_location(Location(self.country, self.area_code, self.outside_prefix, ranges))


class LdapConfig(Section):
    """A directory server whose users, contacts and groups are read."""

    url: str = Field(description="ldap://host:389 or ldaps://host:636")
    kind: Literal["ad", "openldap"] = Field(
        default="ad", description="Active Directory, or a server with entryUUID and inetOrgPerson such as OpenLDAP"
    )
    base: str = Field(description="Where to look: DC=example,DC=com")
    bind_dn: str = Field(default="", description="Whom to sign in as; empty: anonymous")
    password: SecretStr = Field(default=SecretStr(""), description="That one's password")
    password_file: Path | None = Field(default=None, description="File that holds the password, in place of it")
    starttls: bool = Field(default=False, description="Encrypt a connection of ldap:// before anything is sent (StartTLS)")
    ca_file: Path | None = Field(default=None, description="PEM file with the CA of the server; none: those of the system")
    allow_plain: bool = Field(default=False, description="Send passwords over ldap:// without StartTLS: only to try things")
    filter: str = Field(default="", description="Which entries (RFC 4515); empty: users, contacts and groups of the kind")
    attributes: dict[str, str] = Field(
        default={}, description="Attributes of the server by ours (displayName: cn); what is left out has its usual name"
    )
    domain: str = Field(
        default="", description="SIP domain of users who have no SIP address of their own: login name or mail before the @"
    )
    login_domain: str = Field(default="", description="Windows domain that users may sign in with: EXAMPLE")
    interval: float = Field(default=60.0, ge=1, le=86_400, description="Seconds from one look at what changed to the next")
    full_interval: float = Field(
        default=3600.0, ge=1, le=604_800, description="Seconds from one look at all entries to the next: finds those deleted"
    )
    page_size: int = Field(default=500, ge=1, le=5000, description="Entries in an answer of the server")
    timeout: float = Field(default=10.0, gt=0, le=120, description="Seconds to wait for the server")
    passwords: bool = Field(
        default=True, description="Ask the server about passwords of its users who have none here (Basic sign-in)"
    )
    most_removed: float = Field(
        default=0.5, gt=0, le=1, description="Part of the entries that one look may remove; more is taken for a mistake"
    )

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.path.strip("/") or parts.username:
            raise ValueError("write ldap://host:389 or ldaps://host:636")
        return value

    @field_validator("filter")
    @classmethod
    def _is_a_filter(cls, value: str) -> str:
        if value:
            try:
                parse_filter(value)
            except FilterError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("attributes")
    @classmethod
    def _are_attributes(cls, value: dict[str, str]) -> dict[str, str]:
        for ours, theirs in value.items():
            if attribute(ours) is None:
                raise ValueError(f"{ours} is no attribute of the directory")
            if theirs and _ATTRIBUTE.fullmatch(theirs) is None:
                raise ValueError(f"{theirs} is no attribute of LDAP")
        return value

    @model_validator(mode="after")
    def _keeps_passwords(self) -> LdapConfig:
        if self.password_file is not None and self.password.get_secret_value():
            raise ValueError("give the password or a file with it, not both")
        encrypted = self.url.startswith("ldaps:") or self.starttls
        if self.bind_dn and not encrypted and not self.allow_plain:
            raise ValueError("the password would be sent in the clear; use ldaps://, starttls, or allow_plain to try things")
        return self

    def read_password(self) -> str:
        """What bind_dn signs in with; read anew each time, as files of secrets change. Raises OSError."""
        if self.password_file is not None:
            return self.password_file.expanduser().read_text().rstrip("\n")
        return self.password.get_secret_value()

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can read passwords."""
        return self.url.startswith("ldaps:") or self.starttls


class DirectoryConfig(Section):
    """The directory."""

    numbers: NumbersConfig = Field(default=NumbersConfig(), description="What numbers mean")
    ldap: dict[str, LdapConfig] = Field(default={}, description="Directory servers by name")
    photo_limit: int = Field(default=262_144, ge=1024, le=4_194_304, description="Largest picture of an entry in bytes")
    group_limit: int = Field(default=1_000, ge=1, le=100_000, description="Most members that an expansion may ask for")

    @property
    def sources(self) -> frozenset[str]:
        """What the entries of the directory servers are marked with."""
        return frozenset(f"ldap:{name}" for name in self.ldap)

    @field_validator("ldap")
    @classmethod
    def _have_names(cls, value: dict[str, LdapConfig]) -> dict[str, LdapConfig]:
        for name in value:
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no name of a source; use lower case letters, digits, - and _")
        return value
