"""Configuration of the conference service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from parley.platform.config import Section


class ConferenceConfig(Section):
    """Conferences."""

    server_name: str = Field(default="", description="FQDN in diagnostics; empty: the domain of the user")
    mcu_types: list[Literal["chat"]] = Field(
        default=["chat"], min_length=1, description="Kinds of conferencing servers that are offered"
    )
    max_participants: int = Field(default=250, ge=2, le=1_000, description="Participants of one conference")
    max_conferences: int = Field(default=500, ge=1, description="Conferences kept for one organizer")
    max_hours: float = Field(default=24.0, gt=0, description="Longest meeting, counted from when the last one joined")
    expiry_days: float = Field(default=14.0, gt=0, description="Life of a conference whose organizer gives no end")
    subscription_seconds: int = Field(default=3_600, ge=60, description="Length of a subscription")
    notify_interval: float = Field(
        default=0.1, ge=0, description="Least seconds between two notifications of a subscription"
    )
