"""Configuration of the conferencing server for messages."""

from __future__ import annotations

from pydantic import Field

from parley.platform.config import Section


class ImMcuConfig(Section):
    """Messages in conferences."""

    server_name: str = Field(default="", description="FQDN in diagnostics; empty: the domain of the user")
    max_message_bytes: int = Field(default=32_768, ge=1_024, le=60_000, description="Largest message")
    max_waiting: int = Field(default=1_000, ge=10, description="Messages of one conference that may wait to be relayed")
    answer_seconds: float = Field(
        default=20.0, gt=0, le=32, description="Longest wait for the answer of a participant to a message"
    )
