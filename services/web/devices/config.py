"""Configuration of device updates over HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from parley.platform.config import Section


class WebDevicesConfig(Section):
    """What devices get over HTTP."""

    answers: Literal["none", "unconfirmed"] = Field(
        default="none",
        description="none: devices are told that there is no update, and what they ask is logged; unconfirmed: they are "
        "answered in XML of which the names are not known to be right",
    )
    anonymous: bool = Field(
        default=False, description="Devices on which nobody has signed in may ask and fetch at the internal URLs"
    )
    file_bytes: int = Field(default=134_217_728, ge=1, description="Largest file of an update that may be uploaded")
    log_bytes: int = Field(default=10_485_760, ge=1, description="Largest log of a device that may be sent")
