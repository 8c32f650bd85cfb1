"""Configuration of the presence service."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import Field, field_validator

from parley.platform.config import Section

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_USUAL: Final = {"ServerConfiguration": {"focusFactoryUri": "sip:{user};gruu;opaque=app:conf:focusfactory"}}
"""Settings that hold unless the configuration has others."""
_RELAY: Final = {
    "ServerConfiguration": {
        "mrasUri": "sip:MRASLoc.{domain}@{domain};gruu;opaque=srvr:MRAS",
        # Without it clients refuse calls that are not encrypted, and with them those of many phones.
        "ucPC2PCAVEncryption": "SupportEncryption",
    }
}
"""Settings that hold besides where there is a media relay."""


class PresenceConfig(Section):
    """Presence, contacts, settings."""

    server_name: str = Field(default="", description="FQDN in diagnostics; empty: the domain of the user")
    max_contacts: int = Field(default=1_000, ge=1, le=10_000, description="Contacts of one user")
    max_subscriptions: int = Field(default=64, ge=8, description="Subscriptions of one user, all endpoints together")
    max_resources: int = Field(default=1_000, ge=1, le=10_000, description="Resources of one batched subscription")
    max_list_resources: int = Field(
        default=200, ge=1, le=1_000, description="Resources of a list that a standard client watches"
    )
    max_body_bytes: int = Field(default=65_536, ge=4_096, description="Largest document of a client")
    subscription_seconds: int = Field(default=3_600, ge=60, description="Length of a subscription when none is asked for")
    max_subscription_seconds: int = Field(default=28_800, ge=60, description="Longest subscription")
    min_subscription_seconds: int = Field(default=60, ge=1, description="Shortest subscription, and publication")
    publish_seconds: int = Field(default=3_600, ge=60, description="Length of a PUBLISH when none is asked for")
    notify_interval: float = Field(
        default=0.5, ge=0, description="Least seconds between two notifications of a subscription"
    )
    blocked_watchers: Literal["offline", "refuse"] = Field(
        default="offline",
        description="What standard clients are told that a user blocked: 'offline', as if the user were, or 'refuse' (403)",
    )
    call_check_seconds: float = Field(
        default=30, ge=1, description="Seconds between two looks at whether the front end of a call still carries it"
    )
    settings: dict[str, dict[str, dict[str, str]]] = Field(
        default={},
        description="Settings for clients by group and name, for a domain, a user's address, or '*' for all; in a value "
        "{user} is the user's address, {domain} its domain, and a setting that is empty is not sent",
    )

    @field_validator("settings")
    @classmethod
    def _names(cls, settings: dict[str, dict[str, dict[str, str]]]) -> dict[str, dict[str, dict[str, str]]]:
        for groups in settings.values():
            for group, values in groups.items():
                for name in (group, *values):
                    if not _NAME.fullmatch(name):
                        raise ValueError(f"{name!r} cannot be the name of a setting")
        return settings

    def settings_of(self, aor: str, *, relay: bool = False) -> dict[str, dict[str, str]]:
        """Settings by group for a user: the usual ones, those of all, of the domain, the user's own; later ones win.

        ``relay``: there is a media relay, whose credentials clients may ask for.
        """
        user = aor.removeprefix("sip:")
        domain = user.rpartition("@")[2]
        merged: dict[str, dict[str, str]] = {}
        for groups in (_USUAL, _RELAY if relay else {}, *(self.settings.get(scope, {}) for scope in ("*", domain, user))):
            for group, values in groups.items():
                merged.setdefault(group, {}).update(values)
        return {
            group: {
                name: value.replace("{user}", user).replace("{domain}", domain) for name, value in values.items() if value
            }
            for group, values in merged.items()
        }
