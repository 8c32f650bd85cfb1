"""Configuration of device updates."""

from __future__ import annotations

from pydantic import Field

from parley.platform.config import Section


class DevicesConfig(Section):
    """Updates of devices. Files are kept in Redis, so its memory has to hold all of them."""

    max_file_bytes: int = Field(default=134_217_728, ge=1, description="Largest file of an update")
    max_total_bytes: int = Field(default=536_870_912, ge=1, description="All files of updates together")
    audit_days: int = Field(default=30, ge=1, le=3_650, description="Days that the audit log of requests is kept")
    audit_lines: int = Field(default=100_000, ge=1, description="Requests of a day that are noted; further ones are counted")
    log_days: int = Field(default=10, ge=1, le=365, description="Days that logs of devices are kept")
    max_log_bytes: int = Field(default=10_485_760, ge=1, description="Largest log of a device")
    max_logs_bytes: int = Field(default=134_217_728, ge=1, description="All logs of devices together")
    log_extensions: list[str] = Field(
        default=["clg", "kdmp", "xml", "log"], min_length=1, description="What the name of a log may end with"
    )
