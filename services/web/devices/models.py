"""What the REST interface takes and gives of device updates."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.web.api.models import PageToken

MAX_MODULES = 64

Short = Annotated[str, Field(max_length=128)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$", description="Of the file, hexadecimal")]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DeviceModule(BaseModel):
    """A file of an update."""

    file: str
    version: str
    timestamp: str = ""
    signature: str = Field(default="", description="Name of the file of its signature")
    size: int
    sha256: str


class DeviceUpdate(BaseModel):
    """What devices can get."""

    version: str
    modules: list[DeviceModule]


class UpdateRule(BaseModel):
    """Devices and their updates; what is empty is for all devices."""

    id: str
    type: str
    vendor: str
    model: str
    revision: str
    locale: str
    pending: DeviceUpdate | None = Field(description="What test devices get")
    approved: DeviceUpdate | None = Field(description="What all devices get")
    previous: DeviceUpdate | None = Field(description="What it can be rolled back to")
    withdrawn: list[str] = Field(description="Versions that devices go back from")


class UpdateRules(BaseModel):
    """All of them."""

    rules: list[UpdateRule]


class NewModule(_Taken):
    """A file of an update; it was uploaded before."""

    file: Short
    version: Short
    timestamp: Short = ""
    signature: Short = ""
    sha256: Sha256


class NewSignature(_Taken):
    """The file of a signature that a module names; it was uploaded before."""

    file: Short
    sha256: Sha256


class NewUpdate(_Taken):
    """An update, and for which devices."""

    id: Annotated[str, Field(max_length=64, description="Of the rule; empty: one is made of the fields below")] = ""
    type: Short = ""
    vendor: Short = ""
    model: Short = ""
    revision: Short = ""
    locale: Short = ""
    version: Annotated[str, Field(min_length=1, max_length=128)]
    modules: Annotated[list[NewModule], Field(min_length=1, max_length=MAX_MODULES)]
    signatures: Annotated[list[NewSignature], Field(max_length=MAX_MODULES)] = []


class Decision(_Taken):
    """Which version is meant."""

    version: Annotated[str, Field(max_length=128, description="Of what is decided on; empty: whatever there is")] = ""


class UploadedFile(BaseModel):
    """A file that can be named in an update now."""

    sha256: str
    size: int
    known: bool = Field(description="It was there already")


class TestDevice(_Taken):
    """A device that gets what is pending, by one of both."""

    __test__ = False
    mac: Annotated[str, Field(max_length=64)] = ""
    serial: Short = ""
    note: Annotated[str, Field(max_length=256, description="For people")] = ""


class TestDevices(BaseModel):
    """All of them."""

    __test__ = False
    devices: list[TestDevice]


class HasModule(_Taken):
    """A file that a device has."""

    file: Short
    version: Short = ""
    timestamp: Short = ""


class DeviceQuestion(_Taken):
    """A device, as it would ask."""

    type: Short
    vendor: Short
    model: Short
    revision: Short = ""
    locale: Short = ""
    mac: Short = ""
    serial: Short = ""
    modules: Annotated[list[HasModule], Field(max_length=MAX_MODULES)] = []


class DeviceAnswer(BaseModel):
    """What it would get."""

    rule: str = Field(description="Empty: none is for it")
    version: str
    modules: list[DeviceModule]
    reason: str


class AuditQuery(_Taken):
    """Which lines."""

    day: Annotated[str, Field(default="", max_length=10, description="As 2026-01-31 (UTC); empty: today")]
    first: Annotated[int, Field(default=0, ge=0, le=1_000_000_000, description="Lines to pass over")]
    count: Annotated[int, Field(default=1000, ge=1, le=5000)]


class AuditLines(BaseModel):
    """What devices asked and were answered on one day."""

    name: str = Field(description="What such a file is called")
    total: int
    lines: list[str]


class DeviceLog(BaseModel):
    """A log that a device sent."""

    id: str
    name: str
    size: int
    sha256: str
    uploaded_at_ms: int
    user: str
    client: str = Field(description="The address that it came from")


class DeviceLogs(BaseModel):
    """A page, the latest first."""

    logs: list[DeviceLog]
    next_page_token: str = ""


class DeviceLogsQuery(_Taken):
    """Which logs."""

    page_size: Annotated[int, Field(default=100, ge=1, le=1000)]
    page_token: PageToken
