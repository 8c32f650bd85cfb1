"""Configuration of address-book files."""

from __future__ import annotations

from datetime import time
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import Field

from parley.platform.config import Section


class FilesConfig(Section):
    """Address-book files, for clients that search without a server (MS-ABS)."""

    layout: Literal["off", "unconfirmed"] = Field(
        default="off",
        description="off: none are made; unconfirmed: they are made in a layout of which parts are not known to be right",
    )
    at: str = Field(
        default="01:30",
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="When they are made each day, as HH:MM in UTC",
    )
    keep_days: int = Field(
        default=30, ge=1, le=60, description="Days of which there are files; further back clients take all"
    )
    largest_delta: float = Field(
        default=0.125, gt=0, le=1, description="Share of the contacts that may have changed for a file of changes to be made"
    )
    company_rules: Path | None = Field(
        default=None, description="Rules for numbers that are written into the files, for clients to use as well"
    )
    max_bytes: int = Field(default=268_435_456, ge=1_048_576, description="Largest file; one more byte fails the run")

    @property
    def time(self) -> time:
        """When they are made, in UTC."""
        return time.fromisoformat(self.at)

    @property
    def share(self) -> Fraction:
        """``largest_delta`` as it is compared with."""
        return Fraction(self.largest_delta).limit_denominator(10_000)
