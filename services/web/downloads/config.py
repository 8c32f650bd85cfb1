"""Configuration of downloads."""

from __future__ import annotations

from pydantic import Field

from parley.platform.config import Section


class DownloadsConfig(Section):
    """Address-book files, and files of device updates."""

    at_once: int = Field(
        default=256, ge=1, description="Downloads, and logs of devices, that are under way at a time, of all"
    )
    per_user: int = Field(default=4, ge=1, description="Those of one user, or of one address where nobody signs in")
