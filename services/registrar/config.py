"""Configuration of the registrar."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from parley.platform.config import Section


class RegistrarConfig(Section):
    """Registrations and how long they last."""

    default_expires: int = Field(default=3600, ge=60, description="Seconds, when the client names none")
    min_expires: int = Field(default=60, ge=1, description="Seconds; less is refused with 423")
    max_expires: int = Field(default=7200, ge=60, validate_default=True, description="Seconds; more is shortened to this")
    max_bindings: int = Field(default=10, ge=1, description="Endpoints that a user may have registered at a time")
    edge_grace: float = Field(
        default=10.0,
        ge=0,
        description="Seconds after a front end's lease ended until its bindings are taken away",
    )
    sweep_interval: float = Field(default=1.0, gt=0, description="Seconds between looks for what has ended")

    @field_validator("max_expires")
    @classmethod
    def _not_below_least(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min_expires", 0):
            raise ValueError("must not be less than min_expires")
        return value
