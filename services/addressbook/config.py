"""Configuration of the address book."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from parley.platform.config import Section
from parley.platform.keys import parse_master_key


class AddressBookConfig(Section):
    """Users, passwords, and the demo users of a first try."""

    domains: list[str] = Field(default=["example.test"], min_length=1, description="SIP domains that users may have")
    min_password_length: int = Field(default=8, ge=1, le=128, description="Shortest password")
    demo: bool = Field(default=False, description="Make alice, bob and carol in the first domain when they are absent")
    demo_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of the demo users; empty: a random one, kept with the data",
    )
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
