"""Configuration of the SOAP services of the address book."""

from __future__ import annotations

from pydantic import Field

from parley.platform.config import Section


class ExpansionConfig(Section):
    """Who is in a group, and searches, by SOAP."""

    enabled: bool = Field(default=True, description="Tell clients who is in a group; else they are told it is disabled")
    largest_group: int = Field(
        default=100, ge=1, le=1_000, description="Most members of a group that clients are told; a larger one is an error"
    )
    most_found: int = Field(default=100, ge=1, le=1_000, description="Most entries that a search gives")
